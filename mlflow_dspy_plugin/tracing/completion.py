"""What is found out of a trace after it has ended, in the thread that writes it: prices, and the totals."""

import json

from mlflow.entities import Span, Trace

from mlflow_dspy_plugin import usage
from mlflow_dspy_plugin.seams.ended_traces import add_attribute

_PRICED_BY = (usage.USAGE, usage.COST, usage.PROVIDER, usage.MODEL, usage.RESPONSE_MODEL)


def complete(trace: Trace) -> None:
    """Add the costs that only MLflow's list of prices knows, and the sums over all LM calls."""
    for span in trace.data.spans:
        _price(span)
    if trace.info is not None:
        trace.info.trace_metadata.update(usage.metadata_of(trace.data.spans))


def _price(span: Span) -> None:
    if not span.get_attribute(usage.USAGE):
        return
    cost = usage.price({key: span.get_attribute(key) for key in _PRICED_BY})
    if cost is not None:
        add_attribute(span, usage.COST, json.dumps(cost))

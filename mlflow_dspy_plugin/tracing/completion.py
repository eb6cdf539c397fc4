"""What is found out of a trace after it has ended, in the thread that writes it: prices, and the totals."""

import json
from typing import Any

from mlflow.entities import Span, Trace

from mlflow_dspy_plugin import usage
from mlflow_dspy_plugin.redaction import redact_assignments, redact_text
from mlflow_dspy_plugin.seams.ended_traces import add_attribute, change_event, change_status
from mlflow_dspy_plugin.tracing.known_secrets import EnvironmentSecrets

_environment = EnvironmentSecrets()
_PRICED_BY = (usage.USAGE, usage.COST, usage.PROVIDER, usage.MODEL, usage.RESPONSE_MODEL)


def complete(trace: Trace) -> None:
    """Add the costs that only MLflow's list of prices knows, and the sums over all LM calls."""
    for span in trace.data.spans:
        _price(span)
        _redact_errors(span)
    if trace.info is not None:
        trace.info.trace_metadata.update(usage.metadata_of(trace.data.spans))


def _redact_errors(span: Span) -> None:
    """Put keys out of sight that errors repeat on their way through spans of the user's own."""
    for event in span.events:
        clean = {key: _redacted(value) for key, value in event.attributes.items()}
        if clean != dict(event.attributes):
            change_event(span, event.name, event.timestamp, clean)
    told = span.status.description
    if told and (clean := _redacted(told)) != told:
        change_status(span, clean)


def _redacted(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return _environment.current().redact(redact_assignments(redact_text(value)))


def _price(span: Span) -> None:
    if not span.get_attribute(usage.USAGE):
        return
    cost = usage.price({key: span.get_attribute(key) for key in _PRICED_BY})
    if cost is not None:
        add_attribute(span, usage.COST, json.dumps(cost))

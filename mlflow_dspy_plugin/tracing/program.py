"""What a trace says of the program that made it: its class, its graph, where it was loaded from."""

import weakref
from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.programs.graph import mermaid_of
from mlflow_dspy_plugin.programs.origin import origin_of
from mlflow_dspy_plugin.seams import spans as span_seam
from mlflow_dspy_plugin.seams.mlflow import has_user_set_active_model
from mlflow_dspy_plugin.tracing.calls import Call

# The graph of a program, and the parts that it had then.
_graphs: weakref.WeakKeyDictionary[Any, tuple[list[int], str]] = weakref.WeakKeyDictionary()


def describe(call: Call, program: dspy.Module) -> None:
    """Say of a trace, at its first span, what program it is of."""
    metadata = {names.TRACE_PROGRAM: type(program).__qualname__, names.TRACE_DSPY_VERSION: dspy.__version__}
    model_id = origin_of(program)
    if model_id is not None and not has_user_set_active_model():
        metadata[names.TRACE_MODEL_ID] = model_id
    span_seam.describe_trace(call.span, metadata)
    call.tell({names.SPAN_GRAPH: _graph_of(program)})


def _graph_of(program: dspy.Module) -> str:
    parts = [id(value) for value in vars(program).values()]
    known = _graphs.get(program)
    if known is None or known[0] != parts:
        known = _graphs[program] = (parts, mermaid_of(program))
    return known[1]

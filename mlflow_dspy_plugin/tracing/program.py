"""What a trace says of the program that made it: its class, its graph, where it was loaded from."""

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.programs.by_identity import ByIdentity
from mlflow_dspy_plugin.programs.graph import mermaid_of
from mlflow_dspy_plugin.programs.modules import modules_of
from mlflow_dspy_plugin.programs.origin import origin_of
from mlflow_dspy_plugin.seams import spans as span_seam
from mlflow_dspy_plugin.seams.mlflow import has_user_set_active_model
from mlflow_dspy_plugin.tracing.calls import Call

# The graph of a program, and the parts that it had then.
_graphs: ByIdentity[tuple[list[int], str]] = ByIdentity()


def describe(call: Call, program: dspy.Module) -> None:
    """Say of a trace, at its first span, what program it is of."""
    metadata = {names.TRACE_PROGRAM: type(program).__qualname__, names.TRACE_DSPY_VERSION: dspy.__version__}
    model_id = origin_of(program)
    if model_id is not None and not has_user_set_active_model():
        metadata[names.TRACE_MODEL_ID] = model_id
    span_seam.describe_trace(call.span, metadata)
    call.tell({names.SPAN_GRAPH: _graph_of(program)})


def _graph_of(program: dspy.Module) -> str:
    # Parts of parts may be replaced too.
    parts = attempt(lambda: [id(part) for part in modules_of(program)], lambda error: [])
    known = _graphs.get(program)
    if known is None or known[0] != parts:
        known = (parts, mermaid_of(program))
        _graphs.set(program, known)
    return known[1]

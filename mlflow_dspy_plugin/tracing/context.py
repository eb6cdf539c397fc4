"""`mlflow.dspy.context`: session, user, tags and metadata of all traces inside a block, or no traces."""

import contextlib
import inspect
from collections.abc import Iterator, Mapping

import mlflow

from mlflow_dspy_plugin.seams.trace_context import SESSION, TRACE_CONTEXT, USER, TraceContext, have_mlflow_obey


@contextlib.contextmanager
def context(
    metadata: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    enabled: bool | None = None,
    session_id: str | None = None,
    user: str | None = None,
) -> Iterator[None]:
    """Give every trace that begins inside the block a session, a user, metadata and tags, or have none begin.

    It is `mlflow.tracing.context` of MLflow 3.12, for every release. It holds for the user's own
    traces too, and, while `mlflow.dspy.autolog()` is on, in every thread that is started inside.
    Inside another block it adds to what that one says, and wins where both say something.

    Args:
        metadata: What cannot be changed once the trace is stored, by its key.
        tags: What can be changed later, by its key.
        enabled: False has nothing traced inside, True again what an outer block has switched off;
            None leaves it as it is outside.
        session_id: The conversation that the traces belong to; metadata under "mlflow.trace.session".
        user: Who has asked; metadata under "mlflow.trace.user".
    """
    have_mlflow_obey()
    outer = TRACE_CONTEXT.get() or TraceContext()
    named = {key: value for key, value in ((SESSION, session_id), (USER, user)) if value is not None}
    inner = TraceContext(
        metadata={**outer.metadata, **(metadata or {}), **named},
        tags={**outer.tags, **(tags or {})},
        enabled=outer.enabled if enabled is None else enabled,
    )
    token = TRACE_CONTEXT.set(inner)
    try:
        yield
    finally:
        TRACE_CONTEXT.reset(token)


# MLflow 3.11 knows neither sessions nor users here.
_of_mlflow = getattr(mlflow.tracing, "context", None)
if callable(_of_mlflow) and "session_id" in inspect.signature(_of_mlflow).parameters:
    context = _of_mlflow

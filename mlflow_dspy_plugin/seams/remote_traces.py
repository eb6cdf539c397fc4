"""A block whose spans belong to a trace that another process has begun.

MLflow's own `set_tracing_context_from_http_request_headers` does so for one request at a time: of two that name the
same trace, as where a caller asks several things at once, the first to end takes the trace from the other, whose spans
are then lost.
"""

import contextlib
import inspect
import threading
from collections import Counter
from collections.abc import Iterator

from mlflow.entities import TraceInfo, TraceState
from mlflow.tracing import provider
from mlflow.tracing import utils as _utils
from mlflow.tracing.trace_manager import InMemoryTraceManager
from opentelemetry import trace as _otel
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_HEADER = "traceparent"
# Older releases of MLflow keep no span whose parent they do not have.
CAN_CONTINUE = "is_remote_trace" in inspect.signature(InMemoryTraceManager.register_trace).parameters
_lock = threading.Lock()
# How many blocks there are of a trace.
_blocks: Counter[int] = Counter()


def parent_of(traceparent: str) -> _otel.SpanContext | None:
    """The span that a W3C header names; None where it names none."""
    found = _otel.get_current_span(TraceContextTextMapPropagator().extract({_HEADER: traceparent}))
    context = found.get_span_context()
    return context if context.is_valid else None


@contextlib.contextmanager
def continued(parent: _otel.SpanContext) -> Iterator[None]:
    """Put what is traced in this block below a span of another process. Only where MLflow can continue a trace."""
    contexts = provider.get_context_api()
    _take_part(parent.trace_id)
    token = contexts.attach(_otel.set_span_in_context(_otel.NonRecordingSpan(parent)))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            contexts.detach(token)
        _leave(parent.trace_id)


def _take_part(trace_id: int) -> None:
    name = _utils.generate_mlflow_trace_id_from_otel_trace_id(trace_id)
    manager = InMemoryTraceManager.get_instance()
    with _lock:
        _blocks[trace_id] += 1
        # One that has begun in this process is kept as it is.
        if manager.get_mlflow_trace_id_from_otel_id(trace_id) is None:
            info = TraceInfo(trace_id=name, trace_location=None, request_time=None, state=TraceState.IN_PROGRESS)
            manager.register_trace(trace_id, info, is_remote_trace=True)


def _leave(trace_id: int) -> None:
    manager = InMemoryTraceManager.get_instance()
    with _lock:
        _blocks[trace_id] -= 1
        if _blocks[trace_id] > 0:
            return
        del _blocks[trace_id]
        with manager.get_trace(manager.get_mlflow_trace_id_from_otel_id(trace_id)) as live:
            is_remote = live is not None and live.is_remote_trace
        if is_remote:
            manager.pop_trace(trace_id)

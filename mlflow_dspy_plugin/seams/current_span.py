"""How MLflow's current span is lent to threads."""

import json
import weakref
from typing import Any

from mlflow.tracing import provider
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.trace_manager import InMemoryTraceManager
from mlflow.tracing.utils import encode_span_id
from opentelemetry import context as context_api
from opentelemetry import trace

from mlflow_dspy_plugin.seams.spans import is_live, take_back


class CurrentSpan:
    """MLflow's current span, as a variable that `carry_into_threads` can carry.

    What it carries is MLflow's context with the span lent: a thread may run for ever, and its span
    must not, neither in memory nor as the parent of what the thread does later.
    """

    def get(self, default: Any = None) -> Any:
        context = _contexts().get_current()
        span = trace.get_current_span(context)
        if type(span) is _Lent:
            return context
        return trace.set_span_in_context(_Lent(span), context) if _takes_children(span) else default

    def set(self, context: Any) -> Any:
        return _contexts().attach(context)

    def reset(self, token: Any) -> None:
        take_back(token)


class _Lent:
    """A span for as long as spans can be put below it, and no span after that, whatever is asked of it."""

    def __init__(self, span: trace.Span):
        self._reference = weakref.ref(span)

    @property
    def __class__(self) -> type:
        return type(_span_of(self))

    def __getattr__(self, name: str) -> Any:
        return getattr(_span_of(self), name)


class _Ended(trace.NonRecordingSpan):
    """No span, also for one who has found a moment ago that it is one."""

    context = trace.INVALID_SPAN_CONTEXT
    attributes = {SpanAttributeKey.REQUEST_ID: json.dumps("")}


_ENDED = _Ended(trace.INVALID_SPAN_CONTEXT)


def _span_of(lent: _Lent) -> trace.Span:
    span = lent._reference()
    return span if span is not None and _takes_children(span) else _ENDED


def _takes_children(span: trace.Span) -> bool:
    """As `is_live`, for any span of OpenTelemetry's."""
    context = span.get_span_context()
    if context is None or not context.is_valid:
        return False
    if isinstance(span, trace.NonRecordingSpan):
        # Of a trace that was not sampled, or of another process.
        return True
    manager = InMemoryTraceManager.get_instance()
    trace_id = manager.get_mlflow_trace_id_from_otel_id(context.trace_id)
    known = manager.get_span_from_id(trace_id, encode_span_id(context.span_id))
    return known is not None and is_live(known)


def _contexts() -> Any:
    """Where MLflow keeps the current span: before 3.9 always in OpenTelemetry's own context."""
    return provider.get_context_api() if hasattr(provider, "get_context_api") else context_api

"""MLflow's current span: how threads are lent it, and what becomes of it when its trace has ended.

A span below one whose trace has ended is lost: MLflow warns, or says nothing.
"""

import contextlib
import json
import weakref
from collections.abc import Iterator
from typing import Any

import mlflow
from mlflow.entities import LiveSpan, SpanStatusCode
from mlflow.tracing import provider
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.trace_manager import InMemoryTraceManager
from mlflow.tracing.utils import encode_span_id
from opentelemetry import context as context_api
from opentelemetry import trace

from mlflow_dspy_plugin.seams.mlflow import leave_span


def is_live(span: LiveSpan) -> bool:
    """Whether a span that is put below this one now becomes part of its trace.

    It does while one of the two, the span or the root of its trace, is open.
    """
    manager = InMemoryTraceManager.get_instance()
    if manager.get_span_from_id(span.trace_id, span.span_id) is None:
        return False
    if span.end_time_ns is None:
        return True
    root = manager.get_span_from_id(span.trace_id, manager.get_root_span_id(span.trace_id))
    # The root of a trace that another process has begun is not here.
    return root is None or root.end_time_ns is None


def start_span(name: str, span_type: str, parent: LiveSpan | None) -> LiveSpan:
    """Start a span below its parent; without one, or below one whose trace has ended, a trace of its own."""
    if parent is not None and (not isinstance(parent, LiveSpan) or is_live(parent)):
        return mlflow.start_span_no_context(name, span_type=span_type, parent_span=parent)
    with _outside_of_ended_traces():
        return mlflow.start_span_no_context(name, span_type=span_type)


def end_span(span: LiveSpan, status: SpanStatusCode) -> None:
    """End a span; one whose trace is no longer known has nowhere to go, and MLflow 3.4 logs that as an error."""
    manager = InMemoryTraceManager.get_instance()
    if not isinstance(span, LiveSpan) or manager.get_span_from_id(span.trace_id, span.span_id) is not None:
        span.end(status=status)


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
        leave_span(token)


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


@contextlib.contextmanager
def _outside_of_ended_traces() -> Iterator[None]:
    """MLflow puts even a span without a parent below the current one."""
    context = _contexts().get_current()
    span = trace.get_current_span(context)
    if isinstance(span, trace.NonRecordingSpan) or _takes_children(span):
        yield
        return
    token = _contexts().attach(trace.set_span_in_context(_ENDED, context))
    try:
        yield
    finally:
        leave_span(token)


def _contexts() -> Any:
    """Where MLflow keeps the current span: before 3.9 always in OpenTelemetry's own context."""
    return provider.get_context_api() if hasattr(provider, "get_context_api") else context_api

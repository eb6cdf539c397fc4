"""What is said of all traces inside a block: MLflow's own variable for it, or one that older releases then obey."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from mlflow.tracing import provider
from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey
from mlflow.tracing.processor.base_mlflow import BaseMlflowSpanProcessor
from opentelemetry.trace import NoOpTracer

from mlflow_dspy_plugin.seams.patch import patch

SESSION = TraceMetadataKey.TRACE_SESSION
USER = TraceMetadataKey.TRACE_USER

try:
    from mlflow.tracing.context import _USER_TRACE_CONTEXT as TRACE_CONTEXT
    from mlflow.tracing.context import _UserTraceContext as TraceContext

    _MLFLOW_OBEYS = True
except ImportError:  # before MLflow 3.11
    _MLFLOW_OBEYS = False

    @dataclass(frozen=True)
    class TraceContext:
        """Metadata and tags of the traces, and whether there are any."""

        metadata: dict[str, str] = field(default_factory=dict)
        tags: dict[str, str] = field(default_factory=dict)
        enabled: bool | None = None

    TRACE_CONTEXT: ContextVar[TraceContext | None] = ContextVar("mlflow_dspy_plugin_trace_context", default=None)


def is_silenced() -> bool:
    """Whether the current code is to have no traces."""
    context = TRACE_CONTEXT.get()
    return context is not None and context.enabled is False


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """A block whose code has no traces."""
    token = TRACE_CONTEXT.set(TraceContext(enabled=False))
    try:
        yield
    finally:
        TRACE_CONTEXT.reset(token)


@functools.cache
def have_mlflow_obey() -> None:
    """Have MLflow give every trace of this process, the user's own too, what the variable says.

    It stays for good: MLflow does what it did wherever the variable is not set.
    """
    if not _MLFLOW_OBEYS:
        patch(BaseMlflowSpanProcessor, "_get_basic_trace_metadata", _with_metadata)
        patch(BaseMlflowSpanProcessor, "_get_basic_trace_tags", _with_tags)
        patch(provider, "_get_tracer", _unless_silenced)


def _with_metadata(original: Callable) -> Callable:
    def _get_basic_trace_metadata(self) -> dict[str, Any]:
        context = TRACE_CONTEXT.get()
        return {**original(self), **(context.metadata if context else {})}

    return _get_basic_trace_metadata


def _with_tags(original: Callable) -> Callable:
    def _get_basic_trace_tags(self, span) -> dict[str, Any]:
        context, tags = TRACE_CONTEXT.get(), original(self, span)
        # As newer releases have it: nobody else names the trace.
        return {**tags, **context.tags, TraceTagKey.TRACE_NAME: tags[TraceTagKey.TRACE_NAME]} if context else tags

    return _get_basic_trace_tags


def _unless_silenced(original: Callable) -> Callable:
    def _get_tracer(module_name):
        return NoOpTracer() if is_silenced() else original(module_name)

    return _get_tracer

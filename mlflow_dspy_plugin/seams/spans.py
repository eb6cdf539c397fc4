"""MLflow's live spans, opened and closed at the least cost that MLflow allows.

MLflow's own functions turn every attribute into JSON one by one and read it back at the end, look at
the environment for each span, and make a new tracer. Attributes are given here as the JSON text that
MLflow stores, a whole span's at once.
"""

import contextlib
import contextvars
import importlib
import importlib.util
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import LiveSpan, SpanEvent, SpanType
from mlflow.tracing import provider as _provider
from mlflow.tracing.config import get_config
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.provider import set_span_in_context
from mlflow.tracing.trace_manager import InMemoryTraceManager
from mlflow.tracing.utils import encode_span_id
from mlflow.tracing.utils.processor import apply_span_processors
from opentelemetry import trace as _otel
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import IdGenerator

_ATTACHMENTS = "mlflow.tracing.attachments"
INPUTS = SpanAttributeKey.INPUTS
OUTPUTS = SpanAttributeKey.OUTPUTS
# Who makes the spans, as OpenTelemetry has it: by this name they are known after they have ended.
SCOPE = "mlflow_dspy_plugin"
# Older releases have none.
_Attachment = importlib.import_module(_ATTACHMENTS).Attachment if importlib.util.find_spec(_ATTACHMENTS) else None
_OK = _otel.Status(_otel.StatusCode.OK)
_ERROR = _otel.Status(_otel.StatusCode.ERROR)
# Newer releases filter spans in their UI by levels.
_LEVEL = getattr(SpanAttributeKey, "LOG_LEVEL", None)
_DEBUG, _INFO, _FAILURE = "10", "20", "40"
_SHOWN_TYPES = {
    *(SpanType.LLM, SpanType.CHAT_MODEL, SpanType.TOOL),
    *(SpanType.RETRIEVER, SpanType.AGENT, SpanType.EMBEDDING),
}
# Older releases have a variable of the module, and a reset leaves one in it that does nothing.
_wrapper = getattr(_provider, "provider", None)
# The span of this context, if it is one of this package: finding it in MLflow takes longer.
_entered: contextvars.ContextVar[LiveSpan | None] = contextvars.ContextVar("mlflow_dspy_plugin_span", default=None)
# No sampler that decides by the id of a trace takes this one.
_NEVER_SAMPLED = _otel.SpanContext(trace_id=2**128 - 1, span_id=2**64 - 1, is_remote=False)


@dataclass(frozen=True)
class Dropped:
    """A span that is not recorded, and below which nothing is."""

    _span: _otel.Span


_NOTHING = _otel.NoOpTracer()
DROPPED = Dropped(_otel.NonRecordingSpan(_NEVER_SAMPLED))


def is_tracing_enabled() -> bool:
    """Whether MLflow's tracing is on in this process; cheaper than MLflow's own, which makes a tracer."""
    # Where MLflow has a provider of its own, asking which one holds would read the environment at every call.
    own = getattr(_wrapper, "_isolated_tracer_provider", None)
    return not isinstance(own or current_provider(), _otel.NoOpTracerProvider)


def begin_nothing() -> None:
    """Begin a span that is none: by those that a function begins where tracing is off, MLflow knows that it is traced.

    `mlflow.genai.evaluate` puts a trace of its own around a function that begins none.
    """
    _NOTHING.start_span("")


def open_span(name: str, span_type: str, parent: LiveSpan | None) -> LiveSpan | Dropped | None:
    """Start a span below its parent, or a new trace.

    Returns:
        The span; what stands for it where sampling has dropped it; None where tracing is off.
    """
    context = _otel.set_span_in_context(parent._span, Context()) if parent is not None else _outer_context()
    otel_span = _tracer().start_span(name, context=context)
    if not otel_span.is_recording():
        return Dropped(otel_span) if otel_span.get_span_context().is_valid else None
    span = _registered(otel_span, parent)
    if span is not None:
        _set_type(otel_span, span_type)
    return span


def set_attributes(span: LiveSpan, attributes: Mapping[str, str]) -> None:
    """Set attributes, each given as JSON text."""
    span._span.set_attributes(attributes)


def close_span(span: LiveSpan, failed: bool) -> None:
    """End a span; a status of an error that the user has set stays.

    One whose trace is no longer known has nowhere to go, and older releases log that as an error.
    """
    if not _is_registered(span):
        return
    otel_span = span._span
    if failed or otel_span.status.status_code is not _otel.StatusCode.ERROR:
        otel_span.set_status(_ERROR if failed else _OK)
    if failed and _LEVEL is not None:
        otel_span.set_attribute(_LEVEL, _FAILURE)
    if get_config().span_processors:
        apply_span_processors(span)
    otel_span.end()


def add_event(span: LiveSpan, event: SpanEvent) -> None:
    """Add an event to a span."""
    span._span.add_event(event.name, event.attributes, event.timestamp)


def attacher(span: LiveSpan) -> Callable[[str, bytes], str] | None:
    """What stores a content type and bytes beside the trace and gives the reference to them.

    None where the release has no attachments, or the user wants none (MLFLOW_TRACE_EXTRACT_ATTACHMENTS).
    """
    if _Attachment is None or not span._should_extract_base64():
        return None
    return lambda content_type, data: span._store_attachment(_Attachment(content_type=content_type, content_bytes=data))


def current_span() -> LiveSpan | None:
    """The live span of this context; None where there is none of MLflow's, or its trace has ended."""
    entered, otel_span = _entered.get(), _current_otel_span()
    if entered is None or entered._span is not otel_span:
        entered = _look_up(otel_span)
    return entered if entered is not None and is_live(entered) else None


def enter_span(span: LiveSpan | Dropped) -> Any:
    """Make the span the current one of this context; the token takes it back."""
    return _entered.set(span if isinstance(span, LiveSpan) else None), set_span_in_context(span)


def leave_span(tokens: Any) -> None:
    """Take a span back, by what `enter_span` gave.

    MLflow's own way logs an error where this is no longer the context that the span was entered
    in: a stream that is abandoned ends in that of the garbage collector. There is nothing to take
    back there.
    """
    mine, theirs = tokens
    # Newer releases have two tokens where their tracer is isolated from that of the process.
    for token in (mine, *(theirs if isinstance(theirs, tuple) else (theirs,))):
        take_back(token)


def take_back(token: contextvars.Token | None) -> None:
    """Reset a variable, where this is still the context that it was set in."""
    if token is not None:
        with contextlib.suppress(ValueError):
            token.var.reset(token)


def is_live(span: LiveSpan) -> bool:
    """Whether a span that is put below this one now becomes part of its trace.

    It does while one of the two, the span or the root of its trace, is open. Below others it would
    be lost: MLflow warns, or says nothing.
    """
    if not _is_registered(span):
        return False
    if span._span.end_time is None:
        return True
    manager = InMemoryTraceManager.get_instance()
    root = manager.get_span_from_id(span.trace_id, manager.get_root_span_id(span.trace_id))
    # The root of a trace that another process has begun is not here.
    return root is None or root.end_time_ns is None


def is_collected(trace_id: str) -> bool:
    """Whether MLflow still takes spans of a trace."""
    return trace_id in InMemoryTraceManager.get_instance()._traces


def describe_trace(span: LiveSpan, metadata: Mapping[str, str]) -> None:
    """Add to what a trace says of itself; what was said first stays."""
    with InMemoryTraceManager.get_instance().get_trace(span.trace_id) as trace:
        if trace is not None and not trace.info.trace_metadata.keys() >= metadata.keys():
            trace.info.trace_metadata.update(metadata)


def _outer_context() -> Context | None:
    """The context of a new trace: what came with a request from another process, but no span that has ended."""
    read = getattr(_provider, "get_current_context", None)
    context = read() if read is not None else None
    remote = _otel.get_current_span(context).get_span_context().is_remote
    return context if remote else Context()


def _registered(otel_span: Any, parent: LiveSpan | None) -> LiveSpan | None:
    """The span as MLflow keeps it; None where its trace is not kept any more."""
    manager = InMemoryTraceManager.get_instance()
    trace_id = parent.trace_id if parent is not None else _mlflow_trace_id(otel_span)
    span = manager.get_span_from_id(trace_id, encode_span_id(otel_span.context.span_id))
    if span is None and trace_id is not None:
        # In older releases nobody registers it until it is an object of MLflow's.
        span = LiveSpan(otel_span, trace_id)
        with contextlib.suppress(KeyError):
            manager.register_span(span)
    return span


def _look_up(otel_span: Any) -> LiveSpan | None:
    """The live span that is nobody's of this package."""
    # Older releases cannot read spans that others than MLflow have opened.
    with contextlib.suppress(TypeError):
        span = mlflow.get_current_active_span()
        return span if isinstance(span, LiveSpan) else None
    return None


def _current_otel_span() -> Any:
    read = getattr(_provider, "get_current_context", None)
    return _otel.get_current_span(read() if read is not None else None)


def _is_registered(span: LiveSpan) -> bool:
    return _mlflow_trace_id(span._span) is not None


def _mlflow_trace_id(otel_span: Any) -> str | None:
    """The trace of a span, by the name that MLflow gives it; None where the trace has ended."""
    manager, trace_id = InMemoryTraceManager.get_instance(), otel_span.context.trace_id
    known = manager.get_mlflow_trace_id_from_otel_id(trace_id)
    return known if known is not None else _register_by_otel_id(manager, otel_span, trace_id)


def _register_by_otel_id(manager: InMemoryTraceManager, otel_span: Any, trace_id: int) -> str | None:
    """Put right that MLflow 3.4 registers a trace that it sends by OTLP under its own name for it.

    Such a trace has no spans of MLflow's integrations, and stays in memory for ever.
    """
    told = (getattr(otel_span, "attributes", None) or {}).get(SpanAttributeKey.REQUEST_ID)
    names = manager._otel_id_to_mlflow_trace_id
    name = names.pop(json.loads(told), None) if told is not None else None
    if name is not None:
        names[trace_id] = name
    return name


def _set_type(otel_span: Any, span_type: str) -> None:
    attributes = {SpanAttributeKey.SPAN_TYPE: f'"{span_type}"'}
    if _LEVEL is not None:
        attributes[_LEVEL] = _INFO if span_type in _SHOWN_TYPES else _DEBUG
    otel_span.set_attributes(attributes)


class _IdGenerator(IdGenerator):
    """OpenTelemetry's own takes its numbers from the `random` module, and so changes what a seeded program does."""

    _random = random.SystemRandom()

    def generate_span_id(self) -> int:
        return self._random.getrandbits(64) or self.generate_span_id()

    def generate_trace_id(self) -> int:
        return self._random.getrandbits(128) or self.generate_trace_id()


# The tracer provider of the last span, and its tracer: making one takes longer than opening a span.
_known: tuple[Any, Any] = (None, None)
# Called with each tracer provider that comes into use.
_watchers: list[Callable[[Any], None]] = []


def watch_providers(adopt: Callable[[Any], None]) -> Callable[[], None]:
    """Call `adopt` with MLflow's tracer provider, now and before the first span of each new one; returns the undo.

    MLflow makes another one whenever tracing is reset, enabled or given a destination.
    """
    _watchers.append(adopt)
    adopt(current_provider())
    return lambda: _watchers.remove(adopt)


def _tracer() -> Any:
    global _known
    provider, tracer = _known
    if provider is None or provider is not current_provider():
        tracer = _provider._get_tracer(SCOPE)
        tracer.id_generator = _IdGenerator()
        provider = current_provider()
        for adopt in _watchers:
            adopt(provider)
        _known = (provider, tracer)
    return tracer


def current_provider() -> Any:
    """MLflow's tracer provider; None before the first span, and after a reset."""
    if _wrapper is not None:
        return _wrapper.get()
    return _provider._MLFLOW_TRACER_PROVIDER if _provider._MLFLOW_TRACER_PROVIDER_INITIALIZED.done else None

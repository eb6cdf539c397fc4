"""MLflow's span processors and exporters: where spans go when they end."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from mlflow.entities import Trace
from mlflow.environment_variables import MLFLOW_ENABLE_ASYNC_TRACE_LOGGING
from mlflow.tracing import provider as mlflow_provider
from mlflow.tracing.client import TracingClient
from mlflow.tracing.display import get_display_handler
from mlflow.tracing.display.display_handler import is_trace_ui_available
from mlflow.tracing.export.mlflow_v3 import MlflowV3SpanExporter
from mlflow.tracing.processor import base_mlflow
from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor
from mlflow.tracing.trace_manager import InMemoryTraceManager
from mlflow.tracing.utils import maybe_get_request_id
from mlflow.utils.databricks_utils import is_in_databricks_model_serving_environment
from mlflow.utils.uri import is_databricks_uri
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter

from mlflow_dspy_plugin.seams.patch import patch
from mlflow_dspy_plugin.seams.trace_places import forget_places, know_places

# The methods of MLflow's client that read or change what is stored.
_READS = (
    "_search_traces",
    "delete_assessment",
    "delete_trace_tag",
    "delete_traces",
    "get_assessment",
    "get_trace_info",
    "link_prompt_versions_to_trace",
    "log_assessment",
    "set_trace_tag",
    "update_assessment",
)


def providers() -> tuple[Any, Any]:
    """MLflow's tracer provider and that of the process: other objects whenever one of them is made anew."""
    # MLflow's own getter reads the environment; this is asked at every span.
    ours = mlflow_provider.provider._isolated_tracer_provider if _HAS_WRAPPER else _older_provider()
    return ours, otel_trace._TRACER_PROVIDER


_HAS_WRAPPER = hasattr(mlflow_provider, "provider")


def _older_provider() -> Any:
    return mlflow_provider._MLFLOW_TRACER_PROVIDER


# What makes the provider; older releases call it otherwise.
_MAKING = "_initialize_tracer_provider"
if not hasattr(mlflow_provider, _MAKING):
    _MAKING = "_setup_tracer_provider"


def after_making(adopt: Callable[[], None]) -> Callable[[], None]:
    """Call `adopt` whenever MLflow has made its tracer provider, before the first span of that; returns the undo."""

    def make(original):
        def made(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            adopt()

        return made

    return patch(mlflow_provider, _MAKING, make)


def processors() -> list[MlflowV3SpanProcessor]:
    """The span processors of MLflow that write to a tracking store, where tracing has begun.

    Not those for Unity Catalog, inference tables or OTLP, and none on Databricks, which has rules
    of its own.
    """
    current = mlflow_provider.provider.get() if _HAS_WRAPPER else _older_provider()
    found = getattr(getattr(current, "_active_span_processor", None), "_span_processors", ())
    return [each for each in found if _writes_to_a_store(each)]


def _writes_to_a_store(processor: Any) -> bool:
    if type(processor) is not MlflowV3SpanProcessor or is_in_databricks_model_serving_environment():
        return False
    exporter = processor.span_exporter
    is_mlflow_s = type(exporter) is MlflowV3SpanExporter
    return not is_mlflow_s or not is_databricks_uri(exporter._client.tracking_uri)


def client_of(exporter: MlflowV3SpanExporter) -> TracingClient:
    """The client by which MLflow's exporter writes."""
    return exporter._client


def user_wants_to_wait() -> bool:
    """Whether the user has asked for that."""
    variable = MLFLOW_ENABLE_ASYNC_TRACE_LOGGING
    return variable.is_set() and not variable.get()


def is_evaluating() -> bool:
    """Whether `mlflow.evaluate` runs here, which reads each trace as soon as it has ended."""
    return bool(maybe_get_request_id(is_evaluate=True))


def displays_traces() -> bool:
    """Whether MLflow shows ended traces below the cell of a notebook."""
    return "IPython" in sys.modules and is_trace_ui_available()


def display(trace: Trace) -> None:
    """Have MLflow show the trace when the cell has run."""
    get_display_handler().display_traces([trace])


def replace_exporter(processor: MlflowV3SpanProcessor, exporter: SpanExporter) -> Callable[[], None]:
    """Send the spans of a processor to another exporter.

    Returns:
        Sends on what MLflow's own has been given so far; it may wait for a server.
    """
    theirs = processor.span_exporter
    batching = getattr(processor, "_batch_delegate", None)
    processor.span_exporter = exporter
    # MLflow shuts a processor down with its provider, or where a user ends the threads of logging, and the spans that
    # still run are lost with it.
    processor.shutdown = exporter.shutdown
    know_places(processor)
    if batching is not None:
        # Never None again: another thread may be between asking for it and calling it.
        processor._batch_delegate = _Direct(exporter)
    return functools.partial(_retire, batching, theirs)


def restore_exporter(processor: MlflowV3SpanProcessor, theirs: MlflowV3SpanExporter) -> None:
    """Give a processor its own exporter back."""
    processor.span_exporter = theirs
    del processor.shutdown
    forget_places(processor)
    if getattr(processor, "_batch_delegate", None) is not None:
        processor._batch_delegate = base_mlflow._create_batch_span_processor(theirs)


def export_running(theirs: MlflowV3SpanExporter) -> None:
    """Give MLflow's exporter the ended spans of traces that still run, as it expects to have had them."""
    manager = InMemoryTraceManager.get_instance()
    with manager._lock:
        spans = [span._span for live in manager._traces.values() for span in live.span_dict.values()]
    ended = [span for span in spans if span.end_time is not None and span.parent is not None]
    if ended:
        theirs.export(ended)


def take_deferred(theirs: MlflowV3SpanExporter) -> list[ReadableSpan]:
    """The ended roots that MLflow's exporter holds back because spans below them still run."""
    if not hasattr(theirs, "_deferred_root_spans"):
        return []
    with theirs._deferred_lock:
        roots = list(theirs._deferred_root_spans.values())
        theirs._deferred_root_spans.clear()
    return roots


def _retire(batching: Any, theirs: MlflowV3SpanExporter) -> None:
    if batching is not None:
        batching.force_flush()
        batching.shutdown()
    queue = getattr(theirs, "_async_queue", None)
    if queue is not None and queue.is_active():
        # Where threads are ended for good, MLflow's exporter could not be given back.
        queue.flush()


class _Direct:
    """Stands where a processor of MLflow >= 3.5 has its queue of spans, and hands each on at once."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        if span.context.trace_flags.sampled:
            self._exporter.export((span,))

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Nothing waits here; MLflow flushes the exporter next."""
        return True

    def shutdown(self) -> None:
        self._exporter.shutdown()


def before_reads(flush: Callable[[str], None]) -> Callable[[], None]:
    """Call `flush` with the tracking URI before MLflow's client reads traces, or changes stored ones.

    MLflow's own exporter has a trace's row, or all of it, in the store where its root ends; programs read it at once.

    Returns:
        Takes it back.
    """
    originals = {name: TracingClient.__dict__[name] for name in _READS if name in TracingClient.__dict__}
    for name, method in originals.items():
        setattr(TracingClient, name, _after_flush(method, flush))

    def undo() -> None:
        for name, method in originals.items():
            setattr(TracingClient, name, method)

    return undo


def _after_flush(method: Callable[..., Any], flush: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def flushed(self: TracingClient, *args: Any, **kwargs: Any) -> Any:
        flush(self.tracking_uri)
        return method(self, *args, **kwargs)

    return flushed

"""MLflow's export to OpenTelemetry (OTLP): what this package's spans say there beside what MLflow stores of them."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlflow import environment_variables
from mlflow.entities import SpanType
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.processor.otel import OtelSpanProcessor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanKind

from mlflow_dspy_plugin.seams.spans import SCOPE, current_provider, watch_providers

Describe = Callable[[ReadableSpan], Mapping[str, Any]]

_PREFIX = "gen_ai."
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
# Operations that ask somebody else.
_CLIENTS = {"chat", "text_completion", "embeddings", "retrieval"}
# The type by which MLflow's translator knows an operation. Of any other it would drop the name of the span.
_TYPES = {
    "chat": SpanType.CHAT_MODEL,
    "text_completion": "text_completion",
    "embeddings": SpanType.EMBEDDING,
    "execute_tool": SpanType.TOOL,
    "invoke_agent": SpanType.AGENT,
}
# The names under which the translator looks for these; not every release has all of them.
_TOLD = {"mlflow.llm.model": REQUEST_MODEL, "mlflow.llm.provider": PROVIDER}
# What MLflow's translator leaves out of messages.
_REASONING = '"type": "reasoning"'
# Newer releases have a translator, which runs where the user has set this, in the thread of the program.
_translator = getattr(OtelSpanProcessor, "_translate_span", None)
_translates = getattr(environment_variables, "MLFLOW_ENABLE_OTEL_GENAI_SEMCONV", None)
_adopting = threading.Lock()


def add_semantics(describe: Describe, converse: Describe) -> Callable[[], None]:
    """Have this package's spans say more where they leave by OTLP, found out in the thread that sends them.

    Args:
        describe: The attributes of a span by OpenTelemetry's conventions for generative AI.
        converse: Those that hold its messages; MLflow's translator goes before, where the release has one.

    Returns:
        Undoes it for the spans that end later.
    """

    def adopt(provider: Any) -> None:
        with _adopting:
            for processor in _processors(provider):
                _adopt(processor, describe, converse)

    stop_watching = watch_providers(adopt)

    def undo() -> None:
        stop_watching()
        for processor in _processors(current_provider()):
            # The exporter stays: spans of ours still wait before it, and it leaves all others as they are.
            vars(processor).pop("_translate_span", None)

    return undo


def _processors(provider: Any) -> list[OtelSpanProcessor]:
    found = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    return [processor for processor in found if isinstance(processor, OtelSpanProcessor)]


def _adopt(processor: OtelSpanProcessor, describe: Describe, converse: Describe) -> None:
    # Where the exporter is: opentelemetry-sdk >= 1.34, and before.
    holder, name = getattr(processor, "_batch_processor", None), "_exporter"
    if holder is None:
        holder, name = processor, "span_exporter"
    translate = _translator.__get__(processor) if _translator is not None else None
    exporter = getattr(holder, name)
    if not isinstance(exporter, _Exporter):
        setattr(holder, name, _Exporter(exporter, describe, converse, translate))
    if translate is not None:
        processor._translate_span = lambda span: span if _is_ours(span) else translate(span)


def _is_ours(span: ReadableSpan) -> bool:
    return span.instrumentation_scope is not None and span.instrumentation_scope.name == SCOPE


class _Exporter:
    """Stands before an exporter of OTLP, and is that exporter in all but what spans of ours say."""

    def __init__(self, theirs: Any, describe: Describe, converse: Describe, translate: Any) -> None:
        self._theirs = theirs
        self._describe, self._converse, self._translate = describe, converse, translate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._theirs.export([self._said(span) if _is_ours(span) else span for span in spans])

    def _said(self, span: ReadableSpan) -> ReadableSpan:
        """The span with its attributes by the conventions; beside MLflow's, unless the user wants these only."""
        told, conversation = self._describe(span), self._converse(span)
        theirs = self._translated(span, {**conversation, **told})
        told = {**told, **{key: text for key, text in conversation.items() if _REASONING in text}}
        if _translates is not None and _translates.get():
            return _copy(span, theirs.name, {**theirs.attributes, **told})
        translated = {key: value for key, value in theirs.attributes.items() if key.startswith(_PREFIX)}
        return _copy(span, span.name, {**span.attributes, **conversation, **translated, **told})

    def _translated(self, span: ReadableSpan, told: Mapping[str, Any]) -> ReadableSpan:
        """What MLflow's translator makes of a span that is told what it would not find out."""
        if self._translate is None:
            return span
        attributes = {**span.attributes, **told}
        attributes.pop(SpanAttributeKey.SPAN_TYPE, None)
        if known := _TYPES.get(told.get(OPERATION)):
            attributes[SpanAttributeKey.SPAN_TYPE] = json.dumps(known)
        attributes |= {key: json.dumps(told[name]) for key, name in _TOLD.items() if name in told}
        return self._translate(_copy(span, span.name, attributes))


def _copy(span: ReadableSpan, name: str, attributes: Mapping[str, Any]) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=SpanKind.CLIENT if attributes.get(OPERATION) in _CLIENTS else span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
    )

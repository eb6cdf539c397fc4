"""A span by OpenTelemetry's conventions for generative AI: its `gen_ai.*` attributes, each of their types. Pure.

https://github.com/open-telemetry/semantic-conventions-genai, as of 2026; MLflow's own translator knows a part of them.
What does not fit its type is left out. Messages are in `conversations.py`.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import SpanType
from mlflow.tracing.constant import SpanAttributeKey
from opentelemetry.sdk.trace import ReadableSpan

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams.otlp import OPERATION, PROVIDER, REQUEST_MODEL
from mlflow_dspy_plugin.seams.spans import INPUTS, OUTPUTS
from mlflow_dspy_plugin.tracing.spans import MODEL

_MODEL_PROVIDER = "mlflow.llm.provider"
ERROR = "error.type"

# -- types ------------------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _several(value: Any) -> int | None:
    """The number of answers asked for, which is told where it is not one."""
    return count if (count := _count(value)) != 1 else None


def _texts(value: Any) -> list[str] | None:
    values = [value] if isinstance(value, str) else value
    return values if isinstance(values, list) and values and all(isinstance(each, str) for each in values) else None


def _seconds(milliseconds: Any) -> float | None:
    return number / 1000 if (number := _number(milliseconds)) is not None else None


def _is_some(value: Any) -> bool | None:
    return True if value else None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _definitions(tools: Any) -> str | None:
    """Tools, without the level at which OpenAI's form has what the conventions have at once."""
    if not isinstance(tools, list):
        return None
    return _json([{"type": "function", **tool.get("function", tool)} for tool in tools if isinstance(tool, Mapping)])


def _documents(found: Any) -> str | None:
    """What a retriever has found, in the form in which `documents.py` has written it."""
    if not isinstance(found, list) or not all(isinstance(each, Mapping) and "page_content" in each for each in found):
        return None
    return _json([_document(each) for each in found])


def _document(found: Mapping[str, Any]) -> dict[str, Any]:
    score = _mapping(found.get("metadata")).get("score")
    told = {"id": found.get("id"), "score": score, "content": found["page_content"]}
    return {key: value for key, value in told.items() if value is not None}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


# -- attributes: type, and the names under which the value is found, the first that is there --------

_Rows = Mapping[str, tuple[Any, ...]]
_REQUEST: _Rows = {
    "gen_ai.request.temperature": (_number, "temperature"),
    "gen_ai.request.top_p": (_number, "top_p"),
    "gen_ai.request.top_k": (_number, "top_k"),
    "gen_ai.request.frequency_penalty": (_number, "frequency_penalty"),
    "gen_ai.request.presence_penalty": (_number, "presence_penalty"),
    "gen_ai.request.max_tokens": (_count, "max_tokens", "max_completion_tokens", "max_output_tokens"),
    "gen_ai.request.seed": (_count, "seed"),
    "gen_ai.request.choice.count": (_several, "n"),
    "gen_ai.request.stop_sequences": (_texts, "stop"),
    "gen_ai.tool.definitions": (_definitions, "tools"),
}
_RESPONSE: _Rows = {
    "gen_ai.response.model": (_text, "response_model"),
    "gen_ai.response.id": (_text, "response_id"),
    "gen_ai.response.finish_reasons": (_texts, "finish_reasons"),
    "gen_ai.response.time_to_first_chunk": (_seconds, "time_to_first_token_ms"),
    "gen_ai.request.stream": (_is_some, "chunks"),
}
_USAGE: _Rows = {
    "gen_ai.usage.input_tokens": (_count, "input_tokens"),
    "gen_ai.usage.output_tokens": (_count, "output_tokens"),
    "gen_ai.usage.cache_read.input_tokens": (_count, "cache_read_input_tokens"),
    "gen_ai.usage.cache_creation.input_tokens": (_count, "cache_creation_input_tokens"),
    "gen_ai.usage.reasoning.output_tokens": (_count, "reasoning_tokens"),
}
_VECTORS: _Rows = {"gen_ai.embeddings.dimension.count": (_count, "dimensions")}
_RETRIEVAL: _Rows = {
    "gen_ai.request.top_k": (_number, "k"),
    "gen_ai.retrieval.query.text": (_text, "query"),
    "gen_ai.retrieval.documents": (_documents, OUTPUTS),
}
_TOOL: _Rows = {
    "gen_ai.tool.name": (_text, "name"),
    "gen_ai.tool.description": (_text, "description"),
    "gen_ai.tool.call.arguments": (_json, INPUTS),
    "gen_ai.tool.call.result": (_json, OUTPUTS),
}
# LiteLLM's names of providers, where the conventions have others.
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}


def _read(rows: _Rows, said: Mapping[str, Any]) -> dict[str, Any]:
    told = {}
    for key, (of_type, *names) in rows.items():
        found = next((said[name] for name in names if said.get(name) is not None), None)
        value = of_type(found) if found is not None else None
        if value is not None:
            told[key] = value
    return told


# -- spans ------------------------------------------------------------------------------------


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """The attributes by the conventions of a span of this package; none of a step that they do not know."""
    told: dict[str, Any] = {}
    _describe(span, told)
    return told


@never_raises
def _describe(span: ReadableSpan, told: dict[str, Any]) -> None:
    said = values_of(span)
    describe = _KINDS.get(said.get(SpanAttributeKey.SPAN_TYPE))
    if describe is not None:
        told.update(describe(span.name, said))
    errors = [event.attributes["exception.type"] for event in span.events if event.name == "exception"]
    if errors:
        told[ERROR] = errors[-1]


def values_of(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span as values; MLflow keeps JSON."""
    return {key: _value(text) for key, text in (span.attributes or {}).items()}


def is_lm_call(said: Mapping[str, Any]) -> bool:
    """Whether a span with these values is a call of a language model: predictors have the same type in MLflow."""
    return said.get(SpanAttributeKey.SPAN_TYPE) in (SpanType.CHAT_MODEL, SpanType.LLM) and MODEL in said


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _of_lm(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    if not is_lm_call(said):
        return {}
    return {
        OPERATION: "text_completion" if said.get("model_type") == "text" else "chat",
        **_model(said),
        **_read(_REQUEST, {**said, **_mapping(said.get(INPUTS))}),
        **_read(_RESPONSE, said),
        **_read(_USAGE, _mapping(said.get(SpanAttributeKey.CHAT_USAGE))),
    }


def _of_embedder(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    return {OPERATION: "embeddings", **_model(said), **_read(_VECTORS, _mapping(said.get(OUTPUTS)))}


def _of_retriever(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    return {OPERATION: "retrieval", **_read(_RETRIEVAL, {**_mapping(said.get(INPUTS)), **said})}


def _of_tool(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    # A code interpreter has no name of its own.
    kind = {"gen_ai.tool.type": "function"} if "name" in said else {}
    return {OPERATION: "execute_tool", "gen_ai.tool.name": name, **kind, **_read(_TOOL, said)}


def _of_agent(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    return {OPERATION: "invoke_agent", "gen_ai.agent.name": _class_in(name)}


def _of_program(name: str, said: Mapping[str, Any]) -> dict[str, Any]:
    return {OPERATION: "invoke_workflow", "gen_ai.workflow.name": _class_in(name)}


_KINDS: dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
    SpanType.CHAT_MODEL: _of_lm,
    SpanType.LLM: _of_lm,
    SpanType.EMBEDDING: _of_embedder,
    SpanType.RETRIEVER: _of_retriever,
    SpanType.TOOL: _of_tool,
    SpanType.AGENT: _of_agent,
    SpanType.CHAIN: _of_program,
}


def _model(said: Mapping[str, Any]) -> dict[str, str]:
    """The model by the name that its provider knows, and the provider, which LiteLLM's names begin with."""
    model = _text(said.get(MODEL))
    provider = _text(said.get(_MODEL_PROVIDER))
    if model is None:
        return {}
    prefix, _, rest = model.partition("/")
    if prefix and rest and provider in (None, prefix):
        provider, model = prefix, rest
    named = {PROVIDER: _PROVIDERS.get(provider, provider)} if provider is not None else {}
    return {REQUEST_MODEL: model, **named}


def _class_in(name: str) -> str:
    """The class in the name of a span, such as `ReAct.forward`."""
    return name.partition(".")[0]

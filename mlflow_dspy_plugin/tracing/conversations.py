"""What was said in a span, by OpenTelemetry's conventions: messages made of parts. Pure.

For releases of MLflow that have no translator, and for what theirs leaves out.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.entities import SpanType
from mlflow.tracing.constant import SpanAttributeKey
from opentelemetry.sdk.trace import ReadableSpan

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams.spans import INPUTS, OUTPUTS
from mlflow_dspy_plugin.tracing.semconv import is_lm_call, values_of

INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"


def conversation_of(span: ReadableSpan) -> dict[str, str]:
    """The attributes that hold what was said to a language model, an agent or a program, and what it answered."""
    told: dict[str, str] = {}
    _converse(span, told)
    return told


@never_raises
def _converse(span: ReadableSpan, told: dict[str, str]) -> None:
    said = values_of(span)
    inputs, outputs = said.get(INPUTS), said.get(OUTPUTS)
    if is_lm_call(said):
        found = {**_asked(inputs), OUTPUT_MESSAGES: [_answer(choice) for choice in _choices(outputs)]}
    elif said.get(SpanAttributeKey.SPAN_TYPE) in (SpanType.AGENT, SpanType.CHAIN):
        found = {INPUT_MESSAGES: _whole("user", inputs), OUTPUT_MESSAGES: _whole("assistant", outputs)}
    else:
        found = {}
    told.update({key: json.dumps(value, ensure_ascii=False) for key, value in found.items() if value})


def _asked(inputs: Any) -> dict[str, list[Any]]:
    """The messages that were sent; those of the system stand by themselves, as in MLflow's translation."""
    messages = inputs.get("messages") if isinstance(inputs, Mapping) else None
    messages = [each for each in messages if isinstance(each, Mapping)] if isinstance(messages, list) else []
    system = [each for each in messages if each.get("role") == "system"]
    return {
        SYSTEM_INSTRUCTIONS: [part for each in system for part in _content(each.get("content"))],
        INPUT_MESSAGES: [_message(each) for each in messages if each.get("role") != "system"],
    }


def _choices(outputs: Any) -> list[Mapping[str, Any]]:
    choices = outputs.get("choices") if isinstance(outputs, Mapping) else None
    return [each for each in choices if isinstance(each, Mapping)] if isinstance(choices, list) else []


def _answer(choice: Mapping[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    answer = _message(message if isinstance(message, Mapping) else {}, "assistant")
    reason = choice.get("finish_reason")
    return {**answer, "finish_reason": reason} if reason else answer


def _whole(role: str, values: Any) -> list[dict[str, Any]]:
    """One message of all fields; what was only returned has no reason to finish but that it was done."""
    if not values:
        return []
    text = values if isinstance(values, str) else json.dumps(values, ensure_ascii=False)
    end = {"finish_reason": "stop"} if role == "assistant" else {}
    return [{"role": role, "parts": [_text(text)], **end}]


# -- a message --------------------------------------------------------------------------------


def _message(message: Mapping[str, Any], role: str = "user") -> dict[str, Any]:
    role, content = message.get("role") or role, message.get("content")
    if message.get("tool_call_id"):
        response = {"type": "tool_call_response", "id": message["tool_call_id"], "response": content}
        return {"role": role, "parts": [response]}
    reasoning = [{"type": "reasoning", "content": text}] if (text := message.get("reasoning")) else []
    calls = [_tool_call(call) for call in message.get("tool_calls") or ()]
    return {"role": role, "parts": [*reasoning, *_content(content), *calls]}


def _content(content: Any) -> list[dict[str, Any]]:
    if content is None:
        return []
    return list(map(_part, content if isinstance(content, list) else [content]))


def _part(part: Any) -> dict[str, Any]:
    known = _PARTS.get(part.get("type")) if isinstance(part, Mapping) else None
    return known(part) if known is not None else _text(part)


def _text(value: Any) -> dict[str, Any]:
    return {"type": "text", "content": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def _image(part: Mapping[str, Any]) -> dict[str, Any]:
    url = part["image_url"]["url"]
    if not url.startswith("data:"):
        return {"type": "uri", "modality": "image", "uri": url}
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "blob", "modality": "image", "mime_type": kind, "content": data}


def _audio(part: Mapping[str, Any]) -> dict[str, Any]:
    audio = part["input_audio"]
    kind = f"audio/{audio.get('format')}"
    return {"type": "blob", "modality": "audio", "mime_type": kind, "content": audio.get("data")}


_PARTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "text": lambda part: _text(part.get("text")),
    "image_url": _image,
    "input_audio": _audio,
}


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": _parsed(arguments)}


def _parsed(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments

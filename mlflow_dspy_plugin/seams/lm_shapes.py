"""What LM calls take and give, as plain data, whatever library asks the provider.

DSPy hands on OpenAI's chat form (LiteLLM), OpenAI's Responses form, lm15's objects (dspy >= 3.4), or
what a class of the user's returns. Messages leave here in OpenAI's chat form.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel

from mlflow_dspy_plugin.seams import lm15

# dspy >= 3.4 wraps what the library has given.
_HAS_WRAPPERS = importlib.util.find_spec("dspy.clients.call_result") is not None
_WRAPPERS = (importlib.import_module("dspy.clients.call_result").CallResult,) if _HAS_WRAPPERS else ()


@dataclass(frozen=True)
class Answer:
    """What came back for one LM call.

    Attributes:
        choices: As in OpenAI's chat completions: index, message and finish_reason.
        usage: By OpenAI's names, or those of its Responses; all candidates together.
        cost: In USD, as DSPy knows it.
        cache_hit: Whether DSPy's cache has answered; the cost is then what the first answer cost.
    """

    choices: list[dict[str, Any]] = field(default_factory=list)
    id: str | None = None
    model: str | None = None
    provider: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    cost: float | None = None
    cache_hit: bool = False


# -- what is asked ----------------------------------------------------------------------------

# Not part of what is sent: DSPy's own.
_CONTROLS = ("cache", "rollout_id")


def messages_of(inputs: Mapping[str, Any]) -> Any:
    """The messages that an LM is called with; a prompt is one.

    Args:
        inputs: The arguments of the call, as DSPy tells them to callbacks.
    """
    typed = _typed(inputs)
    if typed is not None:
        return lm15.messages_of(typed)
    prompt, messages = inputs.get("prompt"), inputs.get("messages")
    # dspy.utils.DummyLM takes messages there too.
    return messages or (prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}])


def parameters_of(lm: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are sent beside the messages: those of the LM, and over them those of the call."""
    typed = _typed(inputs)
    if typed is not None:
        return lm15.parameters_of(typed)
    merged = {**(getattr(lm, "kwargs", None) or {}), **(inputs.get("kwargs") or {})}
    return {key: value for key, value in merged.items() if value is not None and key not in _CONTROLS}


def schema_of(value: Any) -> Any:
    """What is sent for a pydantic class, which says the form of the answer; any other value as it is."""
    if not (isinstance(value, type) and issubclass(value, BaseModel)):
        return value
    return {"type": "json_schema", "json_schema": {"name": value.__name__, "schema": value.model_json_schema()}}


def _typed(inputs: Mapping[str, Any]) -> Any:
    """The `dspy.lm15.Request` that dspy >= 3.4 takes in place of messages and parameters."""
    given = (inputs.get("kwargs") or {}).get("request") or inputs.get("prompt")
    return given if hasattr(given, "messages") and hasattr(given, "config") else None


# -- what came back ---------------------------------------------------------------------------


def answer_of(result: Any) -> Answer:
    """What `watch_results` reports, as plain data."""
    is_wrapped = isinstance(result, _WRAPPERS)
    typed = result.responses if is_wrapped else ()
    raw = result.raw if is_wrapped else result
    hidden = {} if typed else _value(raw, "_hidden_params") or {}
    first = typed[0] if typed else raw
    return Answer(
        choices=[lm15.choice_of(i, each) for i, each in enumerate(typed)] or _choices(raw),
        id=_text(_value(first, "id")),
        model=_text(result.response_model if is_wrapped else _value(raw, "model")),
        provider=_text(hidden.get("custom_llm_provider")),
        usage=plain(_mapping(_value(result, "usage"))),
        cost=result.cost if is_wrapped else hidden.get("response_cost"),
        cache_hit=bool(_value(result, "cache_hit")),
    )


def choices_of_outputs(outputs: Any) -> list[dict[str, Any]]:
    """The same choices, without reasons to finish, from what an LM call returns."""
    if hasattr(outputs, "message"):
        return [lm15.choice_of(0, outputs)]
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [_choice(i, _output_message(each)) for i, each in enumerate(outputs)]


def _output_message(output: Any) -> Mapping[str, Any]:
    return {**output, "content": output.get("text")} if isinstance(output, Mapping) else {"content": output}


def _choices(raw: Any) -> list[dict[str, Any]]:
    if choices := _value(raw, "choices"):
        return [_choice_of(i, _mapping(each)) for i, each in enumerate(choices)]
    if output := _value(raw, "output"):
        return [_choice(0, _responses_message(output), _responses_reason(raw))]
    return []


def _choice_of(index: int, choice: Mapping[str, Any]) -> dict[str, Any]:
    message = _mapping(choice.get("message")) or {"content": choice.get("text")}
    return _choice(index, message, _text(choice.get("finish_reason")), choice.get("logprobs"))


def _choice(index: int, message: Mapping[str, Any], reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    """A choice in OpenAI's form."""
    told: dict[str, Any] = {"role": "assistant", "content": plain(message.get("content"))}
    for key, names in _BESIDE_CONTENT.items():
        value = next((found for name in names if (found := message.get(name))), None)
        if value:
            told[key] = [tool_call(call) for call in value] if key == "tool_calls" else plain(value)
    choice = {"index": index, "message": told, "finish_reason": reason}
    logprobs = logprobs or message.get("logprobs")
    return {**choice, "logprobs": plain(logprobs)} if logprobs else choice


# What a message has beside its content, and what libraries call it.
_BESIDE_CONTENT = {
    "reasoning": ("reasoning_content", "reasoning"),
    "tool_calls": ("tool_calls",),
    "annotations": ("annotations", "citations"),
    "audio": ("audio",),
    "images": ("images",),
}


# -- OpenAI's Responses -----------------------------------------------------------------------


def _responses_message(output: Iterable[Any]) -> dict[str, Any]:
    """One message of all items of a response."""
    texts, reasoning, calls, images = [], [], [], []
    for item in map(_mapping, output):
        kind = item.get("type")
        if kind == "message":
            texts += _texts(item.get("content"))
        elif kind == "reasoning":
            reasoning += _texts(item.get("content") or item.get("summary"))
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            calls.append({"id": item.get("call_id"), "type": "function", "function": function})
        elif kind == "image_generation_call":
            url = f"data:image/{item.get('output_format') or 'png'};base64,{item.get('result')}"
            images.append({"type": "image_url", "image_url": {"url": url}})
    content = "".join(texts) if texts else None
    if images:
        content = [*([{"type": "text", "text": content}] if content else []), *images]
    return {"content": content, "reasoning": "\n\n".join(reasoning) or None, "tool_calls": calls or None}


def _texts(parts: Any) -> list[str]:
    return [text for part in parts or () if (text := _value(part, "text") or _value(part, "refusal"))]


def _responses_reason(raw: Any) -> str | None:
    """Why it ended, by the names of chat completions."""
    reason = _value(_value(raw, "incomplete_details"), "reason")
    if reason is not None:
        return "length" if reason == "max_output_tokens" else _text(reason)
    status = _text(_value(raw, "status"))
    return "stop" if status == "completed" else status


# -- chunks -----------------------------------------------------------------------------------


class Chunk(NamedTuple):
    """A part of an answer that comes as a stream.

    Attributes:
        characters: How many it adds to the answer.
        tells_usage: Whether the provider's count of tokens comes with the stream.
    """

    characters: int
    tells_usage: bool


def chunk_of(chunk: Any) -> Chunk:
    """A chunk of LiteLLM's, which asks for the usage only where DSPy's `track_usage` is on."""
    characters = sum(_delta_length(_value(choice, "delta")) for choice in _value(chunk, "choices") or ())
    return Chunk(characters, bool(_value(chunk, "usage")))


def _delta_length(delta: Any) -> int:
    texts = [_value(delta, "content"), _value(delta, "reasoning_content")]
    texts += [_value(_value(call, "function"), "arguments") for call in _value(delta, "tool_calls") or ()]
    return sum(len(text) for text in texts if isinstance(text, str))


# -- any object -------------------------------------------------------------------------------


def tool_call(call: Any) -> dict[str, Any]:
    """A call of a tool in OpenAI's form; viewers want every part of it to be a text."""
    function = _value(call, "function")
    arguments = _value(function, "arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(plain(arguments or {}), ensure_ascii=False, default=repr)
    named = {"name": _text(_value(function, "name")) or "", "arguments": arguments}
    return {"id": _text(_value(call, "id")) or "", "type": "function", "function": named}


def plain(value: Any) -> Any:
    """A value without the models of pydantic in it, whose own way to plain data warns or fails in LiteLLM's."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, BaseModel):
        value = dict(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    """The fields of a mapping, a model of pydantic, or any other object."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseModel):
        return dict(value)
    return getattr(value, "__dict__", {})


def _value(obj: Any, name: str) -> Any:
    return obj.get(name) if isinstance(obj, Mapping) else getattr(obj, name, None)


def _text(value: Any) -> str | None:
    """A text, or nothing: mocks of the user's have all attributes."""
    return value if isinstance(value, str) and value else None

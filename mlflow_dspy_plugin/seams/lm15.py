"""lm15's requests, responses and streams (dspy >= 3.4) in OpenAI's chat form.

By the types that its parts name, not by their classes: other releases have none.
"""

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any


def messages_of(request: Any) -> list[dict[str, Any]]:
    """The messages of a request."""
    system = request.system
    if system is not None and not isinstance(system, str):
        system = [_part(part) for part in system]
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [message for turn in request.messages for message in _messages_of_turn(turn)]


def parameters_of(request: Any) -> dict[str, Any]:
    """What a request says beside its messages."""
    config = {each.name: getattr(request.config, each.name) for each in fields(request.config)}
    tools = [_tool(tool) for tool in request.tools]
    given = {key: value for key, value in config.items() if value is not None and value != ()}
    return {**given, **({"tools": tools} if tools else {})}


def _tool(tool: Any) -> dict[str, Any]:
    if tool.type != "function":
        return {"type": tool.name, **(tool.config or {})}
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}


def choice_of(index: int, response: Any) -> dict[str, Any]:
    """A response as a choice of OpenAI's."""
    [message] = _messages_of_turn(response.message)
    reason = "tool_calls" if response.finish_reason == "tool_call" else response.finish_reason
    return {"index": index, "message": message, "finish_reason": reason}


def _messages_of_turn(turn: Any) -> list[dict[str, Any]]:
    """A message of lm15's: the results of tools in it are messages of their own in the chat form."""
    results = [_tool_result(part) for part in turn.parts if part.type == "tool_result"]
    parts = [part for part in turn.parts if part.type != "tool_result"]
    if results and not parts:
        return results
    message = {"role": turn.role, "content": _content([p for p in parts if p.type not in _NO_CONTENT])}
    if thoughts := [part.text for part in parts if part.type == "thinking"]:
        message["reasoning"] = "".join(thoughts)
    if calls := [_tool_call(part) for part in parts if part.type == "tool_call"]:
        message["tool_calls"] = calls
    if citations := [_citation(part) for part in parts if part.type == "citation"]:
        message["annotations"] = citations
    return [*results, message]


def _content(parts: list[Any]) -> Any:
    """A text where all parts are, or nothing; else the parts."""
    if all(part.type == "text" for part in parts):
        return "".join(part.text for part in parts) if parts else None
    return [_part(part) for part in parts]


def _part(part: Any) -> dict[str, Any]:
    return _PARTS.get(part.type, _file_part)(part)


def _text_part(part: Any) -> dict[str, Any]:
    return {"type": "text", "text": part.text}


def _data_part(part: Any) -> dict[str, Any]:
    return {"type": "text", "text": json.dumps(part.value, ensure_ascii=False)}


def _image_part(part: Any) -> dict[str, Any]:
    url = _url(part)
    if url is None:
        return _file_part(part)
    return {"type": "image_url", "image_url": {"url": url, **({"detail": part.detail} if part.detail else {})}}


def _audio_part(part: Any) -> dict[str, Any]:
    if part.data is None:
        return _file_part(part)
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.media_type.split("/")[-1]}}


def _file_part(part: Any) -> dict[str, Any]:
    """Any other medium: what it holds, or where it is; a local file is named, and not read."""
    told = {"media_type": part.media_type, "file_data": _url(part), "file_id": part.file_id}
    path = getattr(part, "path", None)
    told["filename"] = path.name if path is not None else None
    return {"type": "file", "file": {key: value for key, value in told.items() if value is not None}}


def _url(part: Any) -> str | None:
    return part.url if part.data is None else f"data:{part.media_type};base64,{part.data}"


def _tool_call(part: Any) -> dict[str, Any]:
    function = {"name": part.name, "arguments": json.dumps(part.input, ensure_ascii=False)}
    return {"id": part.id, "type": "function", "function": function}


def _tool_result(part: Any) -> dict[str, Any]:
    named = {"name": part.name} if part.name else {}
    return {"role": "tool", "tool_call_id": part.id, **named, "content": _content(list(part.content))}


def _citation(part: Any) -> dict[str, Any]:
    told = {"url": part.url, "title": part.title, "text": part.text}
    return {"type": "url_citation", "url_citation": {key: value for key, value in told.items() if value is not None}}


_NO_CONTENT = ("thinking", "tool_call", "citation")
_PARTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "text": _text_part,
    "refusal": _text_part,
    "data": _data_part,
    "image": _image_part,
    "audio": _audio_part,
}


def length_of_delta(delta: Any) -> int:
    """The number of characters that a part of a stream adds to the answer."""
    texts = (getattr(delta, name, None) for name in ("text", "input", "data"))
    return sum(len(text) for text in texts if isinstance(text, str))

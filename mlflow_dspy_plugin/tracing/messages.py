"""Messages as MLflow's UI renders them: OpenAI's chat form, kept to what the viewer knows. Pure.

One part of a message that the viewer does not know costs the view of the whole conversation, so such a
part becomes a text that names it, with the part itself beside the text.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mlflow_dspy_plugin.seams.lm_shapes import plain, tool_call

# The viewer knows four roles.
_ROLES = {"developer": "system", "function": "tool", "model": "assistant"}
_AUDIO_FORMATS = ("wav", "mp3", None)
_DETAILS = ("auto", "low", "high")


def conversation(messages: Any) -> Any:
    """The messages of a request; what is no list of messages is left as it is."""
    if not isinstance(messages, (list, tuple)):
        return messages
    return [message(each) if isinstance(each, Mapping) else each for each in messages]


def message(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One message: role, content, reasoning, calls of tools, and whatever else it has."""
    role, content = given.get("role"), given.get("content")
    if type(content) is str and len(given) == 2 and role not in _ROLES:
        return given
    told = {key: plain(value) for key, value in given.items() if key not in ("reasoning_content", "images")}
    told["role"] = _ROLES.get(role, role) if isinstance(role, str) else role
    told["content"] = _content(content, given.get("images"))
    if calls := given.get("tool_calls"):
        told["tool_calls"] = [tool_call(call) for call in calls]
    if reasoning := given.get("reasoning_content") or given.get("reasoning"):
        told["reasoning"] = reasoning
    return told


def answers(choices: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The choices of a response, with their messages."""
    return [{**choice, "message": dict(message(choice["message"]))} for choice in choices]


def _content(content: Any, images: Any) -> Any:
    """The content of a message: a text, nothing, or parts; LiteLLM has the images of an answer beside it."""
    if images and (content is None or isinstance(content, str)):
        content = [*([content] if content else []), *images]
    if not isinstance(content, (list, tuple)):
        return content
    return [_part(part) for part in content]


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    part = plain(part)
    if not isinstance(part, Mapping):
        return part
    known = _PARTS.get(part.get("type"))
    return (known(part) if known is not None else None) or _named(part)


def _text(part: Mapping[str, Any]) -> dict[str, Any] | None:
    text = part.get("text", part.get("refusal"))
    return {"type": "text", "text": text} if isinstance(text, str) else None


def _image(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """An image by its URL, as chat completions and Responses give it, or by its data, as Anthropic has it."""
    image, source = part.get("image_url"), part.get("source")
    if isinstance(image, str):
        image = {"url": image, "detail": part.get("detail")}
    elif isinstance(source, Mapping):
        data = f"data:{source.get('media_type')};base64,{source.get('data')}" if source.get("data") else None
        image = {"url": data or source.get("url")}
    if not isinstance(image, Mapping) or not isinstance(image.get("url"), str):
        return None
    detail = {"detail": image["detail"]} if image.get("detail") in _DETAILS else {}
    return {"type": "image_url", "image_url": {"url": image["url"], **detail}}


def _audio(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
    audio = part.get("input_audio")
    if not isinstance(audio, Mapping) or not isinstance(audio.get("data"), str):
        return None
    return part if audio.get("format") in _AUDIO_FORMATS else None


_PARTS: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any] | None]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "refusal"), _text),
    **dict.fromkeys(("image_url", "input_image", "image"), _image),
    "input_audio": _audio,
}


def _named(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part that the viewer does not know, as `[file report.pdf]` and what it was."""
    kind = part.get("type")
    kind = kind if isinstance(kind, str) and kind not in ("text", "type") else "part"
    held = part.get(kind, {key: value for key, value in part.items() if key != "type"})
    told = held if isinstance(held, Mapping) else part
    name = next((name for key in _NAMES if isinstance(name := told.get(key), str) and name), None)
    return {"type": "text", "text": f"[{kind} {name}]" if name else f"[{kind}]", kind: held}


# What tells most of a part, the first that is there.
_NAMES = ("filename", "title", "name", "media_type", "format", "file_id")

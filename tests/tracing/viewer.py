"""What MLflow's trace viewer takes for a conversation, as its two ends (3.4 and 3.17) check it in the browser."""

from typing import Any

ROLES = ("user", "assistant", "system", "tool")


def shows(inputs: Any, outputs: Any) -> bool:
    """Whether the viewer shows inputs and outputs of the format "openai" as a chat."""
    return all(map(_is_message, [*inputs["messages"], *(choice["message"] for choice in outputs["choices"])]))


def _is_message(message: dict[str, Any]) -> bool:
    content = message.get("content")
    known = content is None or isinstance(content, str) or all(map(_is_part, content))
    return known and message["role"] in ROLES and all(map(_is_tool_call, message.get("tool_calls") or ()))


def _is_part(part: dict[str, Any]) -> bool:
    if part["type"] == "text":
        return isinstance(part["text"], str)
    if part["type"] == "image_url":
        image = part["image_url"]
        return isinstance(image["url"], str) and image.get("detail") in (None, "auto", "low", "high")
    if part["type"] == "input_audio":
        audio = part["input_audio"]
        return isinstance(audio["data"], str) and audio.get("format") in (None, "wav", "mp3")
    return False


def _is_tool_call(call: dict[str, Any]) -> bool:
    function = call["function"]
    return all(isinstance(text, str) for text in (call["id"], function["name"], function["arguments"]))

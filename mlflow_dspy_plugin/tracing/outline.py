"""What is left of content that must not be captured: its outline.

Texts, numbers and bytes are content, whoever wrote them; in their place stands what they are, and how long. These stay:

- names (of fields, arguments, keys), as far as they are written like names; others, such as an address by which
  somebody has sorted records, are numbered;
- true, false and null, and how long lists are;
- the words by which chat messages say what they are: role, type, finish reason;
- the names of tools and functions that are called or offered;
- the parameters of a request to a language model, and its counts of tokens, as far as they are numbers;
- of a stack, the files, lines and functions.
"""

import re
from typing import Any

from mlflow_dspy_plugin.redaction import REDACTED
from mlflow_dspy_plugin.tracing.values import Bytes

_NAME = re.compile(r"[A-Za-z_][\w-]{0,63}")
_WORDS = {
    "role": {"assistant", "developer", "function", "system", "tool", "user"},
    "type": {
        *("audio", "document", "file", "function", "image", "image_url", "input_audio", "input_text", "message"),
        *("output_text", "reasoning", "text", "tool_call", "tool_result", "tool_use"),
        *("array", "boolean", "integer", "json_object", "json_schema", "number", "object", "string"),
    },
    "finish_reason": {"content_filter", "function_call", "length", "stop", "tool_calls"},
}
# A name beside one of these is that of a tool.
_OF_TOOLS = {"args", "arguments", "parameters"}
_PARAMETERS = {
    *("frequency_penalty", "max_completion_tokens", "max_retries", "max_tokens", "n", "num_retries"),
    *("presence_penalty", "rollout_id", "seed", "temperature", "timeout", "top_k", "top_p"),
    *("completion_tokens", "prompt_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens"),
}
_FRAME = re.compile(r'\s*File "[^"\n]*", line \d+, in [\w.<>]+|Traceback \(most recent call last\):')


def outlined(data: Any) -> Any:
    """The outline of plain data."""
    if type(data) is dict:
        return {_name(name, place): _member(data, name) for place, name in enumerate(data, 1)}
    if type(data) is list:
        return [outlined(each) for each in data]
    if type(data) is str:
        return data if data == REDACTED else f"[text of {len(data):,} characters]"
    if type(data) is Bytes:
        return f"[{len(data.data):,} bytes]"
    return data if data is None or type(data) is bool else "[number]"


def outlined_stack(text: str) -> str:
    """The outline of a stack: where it has been."""
    frames = [line for line in text.splitlines() if _FRAME.fullmatch(line)]
    return "\n".join([*frames, outlined(text)])


def _name(name: str, place: int) -> str:
    return name if _NAME.fullmatch(name) else f"[name {place}]"


def _member(holder: dict[str, Any], name: str) -> Any:
    value = holder[name]
    if type(value) is str:
        is_of_tool = name == "name" and not _OF_TOOLS.isdisjoint(holder) and _NAME.fullmatch(value)
        return value if is_of_tool or value in _WORDS.get(name, ()) else outlined(value)
    is_number = type(value) in (int, float)
    return value if is_number and name in _PARAMETERS else outlined(value)

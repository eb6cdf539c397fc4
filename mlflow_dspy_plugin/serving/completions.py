"""What a program returned -> replies, and a chat completion of them in OpenAI's form. Pure."""

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.streaming import StatusMessage

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.programs.chat_fields import ChatFields, answer_among
from mlflow_dspy_plugin.serving.outputs import plain
from mlflow_dspy_plugin.serving.spending import Spent
from mlflow_dspy_plugin.serving.tools import tool_calls_of


@dataclass(frozen=True)
class Reply:
    """One answer of a program.

    Attributes:
        text: The text of the answer; None where it only calls tools.
        tool_calls: In OpenAI's form.
        role: Who says it.
        others: The other fields of the prediction, as JSON has them.
    """

    text: str | None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    role: str = "assistant"
    others: Mapping[str, Any] = field(default_factory=dict)

    def finish_reason(self, was_cut: bool) -> str:
        """Why it ends."""
        if self.tool_calls:
            return "tool_calls"
        return "length" if was_cut else "stop"


def replies_of(outputs: Any, parts: ChatFields, choices: int = 1) -> list[Reply]:
    """The replies in what a program returned.

    Args:
        outputs: A text, a prediction, a dict of fields or of a message, or a list of these: one reply each.
        parts: The program's fields by their parts in a chat.
        choices: How many were asked for; of a prediction with several completions there may be as many.
    """
    if choices > 1 and isinstance(outputs, dspy.Prediction) and outputs.completions is not None:
        outputs = [outputs.completions[place] for place in range(min(choices, len(outputs.completions)))]
    return [_reply(each, parts) for each in (outputs if isinstance(outputs, list) else [outputs])]


def completion_of(replies: list[Reply], model: str, spent: Spent) -> dict[str, Any]:
    """A chat completion.

    Args:
        replies: A choice each.
        model: The name of the model to report.
        spent: What they cost.
    """
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(index, reply, spent.was_cut) for index, reply in enumerate(replies)],
        "usage": _usage(spent),
    }


def _usage(spent: Spent) -> dict[str, Any]:
    return {
        "prompt_tokens": spent.sent,
        "completion_tokens": spent.got,
        "total_tokens": spent.total,
        "prompt_tokens_details": {"cached_tokens": spent.sent_cached},
        "completion_tokens_details": {"reasoning_tokens": spent.reasoning},
    }


class Chunks:
    """A streamed chat completion, as OpenAI sends it: role, pieces of text, calls of tools, why it ends and its usage.

    Args:
        model: The name of the model to report.
        with_trace_id: Whether the last chunk tells the trace.
    """

    def __init__(self, model: str, with_trace_id: bool = False) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion.chunk"}
        self._head |= {"created": int(time.time()), "model": model}
        self._with_trace_id = with_trace_id

    def first(self) -> dict[str, Any]:
        """The chunk that tells the role."""
        return {**self._head, "choices": [_delta(0, {"role": "assistant", "content": ""})]}

    def of(self, told: Any) -> Iterator[dict[str, Any]]:
        """The chunks of one thing that `Chat.stream` tells."""
        if isinstance(told, str):
            yield {**self._head, "choices": [_delta(0, {"content": told})]}
        elif isinstance(told, StatusMessage):
            yield {**self._head, "choices": [_delta(0, {})], names.STREAM_STATUS: told.message}
        else:
            yield from ({**self._head, **chunk} for chunk in _unsent(told.replies))
            trace = {names.ANSWER_TRACE_ID: told.trace_id} if self._with_trace_id else {}
            yield {**self._head, **_end(told.replies, told.spent), **trace}


def _unsent(replies: list[Reply]) -> Iterator[dict[str, Any]]:
    """What is not said once the text of the first reply is."""
    for index, reply in enumerate(replies):
        if index and reply.text:
            yield {"choices": [_delta(index, {"content": reply.text})]}
        if reply.tool_calls:
            calls = [{"index": place, **call} for place, call in enumerate(reply.tool_calls)]
            yield {"choices": [_delta(index, {"tool_calls": calls})]}


def _end(replies: list[Reply], spent: Spent) -> dict[str, Any]:
    """Why each ends, and the usage where it is known."""
    ends = [_delta(index, {}, reply.finish_reason(spent.was_cut)) for index, reply in enumerate(replies)]
    return {"choices": ends, **({"usage": _usage(spent)} if spent.is_known else {})}


def _delta(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish_reason}


def _choice(index: int, reply: Reply, was_cut: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": reply.role, "content": reply.text}
    if reply.tool_calls:
        message["tool_calls"] = reply.tool_calls
    return {"index": index, "message": message, "finish_reason": reply.finish_reason(was_cut)}


def _reply(output: Any, parts: ChatFields) -> Reply:
    if isinstance(output, dspy.ToolCalls):
        return _of_fields({"tool_calls": output}, parts)
    if isinstance(output, dspy.Example):
        return _of_fields(dict(output.items(include_dspy=True)), parts)
    if not isinstance(output, Mapping):
        return Reply(_text(output))
    if "content" not in output:
        return _of_fields({name: value for name, value in output.items() if name != "role"}, parts, output.get("role"))
    # A message in OpenAI's form.
    called = output.get("tool_calls")
    beside = {name: value for name, value in output.items() if name not in ("role", "content", "tool_calls")}
    content = None if output["content"] is None else _text(output["content"])
    return Reply(content, plain(called or []), output.get("role") or "assistant", plain(beside))


def _of_fields(fields: Mapping[str, Any], parts: ChatFields, role: str | None = None) -> Reply:
    """The reply in the fields of a prediction."""
    called = [value for value in fields.values() if isinstance(value, dspy.ToolCalls)]
    tool_calls = [call for each in called for call in tool_calls_of(each)]
    told = {name: value for name, value in fields.items() if not isinstance(value, dspy.ToolCalls)}
    known = parts.answer if parts.answer in told else None
    answer = known or answer_among({name: type(value) for name, value in told.items()})
    text = _text(told[answer]) if answer is not None else ""
    others = {name: plain(value) for name, value in told.items() if name != answer}
    # Beside calls, a text that says nothing is none.
    return Reply(text if text or not tool_calls else None, tool_calls, role or "assistant", others)


def _text(value: Any) -> str:
    value = plain(value)
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)

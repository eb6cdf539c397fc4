"""OpenAI's text completions and Responses as data: their requests as chat, and a chat completion as their answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.fakes.chat import Body, dump


class Api(NamedTuple):
    """Another way to ask a model: from its request to one of chat, and from a chat completion to its answer."""

    as_chat: Callable[[Body], Body]
    answer: Callable[[Body], Body]


def whole_answer(api: Api, completion: bytes) -> bytes:
    """Write the body of an answer."""
    return dump(api.answer(json.loads(completion)))


def _text_as_chat(body: Body) -> Body:
    return {**body, "messages": [{"role": "user", "content": body.get("prompt")}]}


def _text_answer(completion: Body) -> Body:
    choices = [
        {"index": choice["index"], "text": choice["message"]["content"], "finish_reason": choice["finish_reason"]}
        for choice in completion["choices"]
    ]
    return {**completion, "object": "text_completion", "choices": choices}


def _responses_as_chat(body: Body) -> Body:
    given = body.get("input")
    return {**body, "messages": given if isinstance(given, list) else [{"role": "user", "content": given}]}


def _responses_answer(completion: Body) -> Body:
    [choice] = completion["choices"]
    cut = choice["finish_reason"] == "length"
    return {
        "id": completion["id"].replace("chatcmpl", "resp"),
        "object": "response",
        "created_at": completion["created"],
        "model": completion["model"],
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": _output_items(choice["message"]),
        "usage": _responses_usage(completion["usage"]),
        **{"error": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0},
        **{"tool_choice": "auto", "tools": [], "top_p": 1.0, "text": {"format": {"type": "text"}}},
    }


def _output_items(message: Body) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if thought := message.get("reasoning_content"):
        items.append({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": thought}]})
    if message["content"] is not None:
        part = {"type": "output_text", "text": message["content"], "annotations": []}
        whole = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
        items.append(whole)
    for call in message.get("tool_calls", ()):
        named = {"call_id": call["id"], **call["function"]}
        items.append({"type": "function_call", "id": "fc_1", "status": "completed", **named})
    return items


def _responses_usage(usage: Body) -> Body:
    return {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens_details": usage["completion_tokens_details"],
    }


TEXT = Api(_text_as_chat, _text_answer)
RESPONSES = Api(_responses_as_chat, _responses_answer)

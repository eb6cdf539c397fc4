"""OpenAI's chat protocol as data: what a model may reply, and the bodies, chunks and errors that say so."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fakes.completion import Usage, pieces

Messages = list[dict[str, Any]]
Body = dict[str, Any]

CHARACTERS_PER_TOKEN = 4
call_numbers = itertools.count(1)

# Per status: OpenAI's error type, code and message; `{key}` and `{model}` are the caller's.
ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "We could not parse the JSON body of your request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: {key}."),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for {model} on requests per min (RPM)."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
}


class Fault(Exception):
    """An error a model returns or raises instead of a reply.

    Args:
        status: The HTTP status; its usual type, code and message are those of OpenAI.
        message: Another message; `{key}` and `{model}` in it become the caller's.
        retry_after: Seconds to announce in a Retry-After header.
    """

    def __init__(self, status: int, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(status, message)
        self.status = status
        self.kind, self.code, usual = ERRORS.get(status, ERRORS[500])
        self.message = usual if message is None else message
        self.retry_after = retry_after

    def body(self, *, key: str = "", model: str = "") -> bytes:
        """Return OpenAI's JSON error body."""
        message = self.message.replace("{key}", key).replace("{model}", model)
        return dump({"error": {"message": message, "type": self.kind, "param": None, "code": self.code}})


@dataclass(frozen=True)
class ToolCalls:
    """A reply that calls tools, each a name and its arguments."""

    calls: Sequence[tuple[str, dict[str, Any]]]

    def as_openai(self) -> list[dict[str, Any]]:
        """Return the `tool_calls` of a message."""
        return [
            {
                "id": f"call_{next(call_numbers)}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for name, arguments in self.calls
        ]


@dataclass(frozen=True)
class Reply:
    """A reply with its figures.

    Args:
        content: The text, or the tools to call.
        usage: The tokens to report; None estimates them from the lengths.
        finish_reason: None means "stop" or "tool_calls".
        cut: Whether the connection breaks in the middle of the answer.
        ends_early: Whether a stream ends in the middle of the answer as if that were all, without saying why.
        model: The model that has answered; None says the one that was asked for.
        reasoning: What the model thought, as DeepSeek and others tell it.
    """

    content: str | ToolCalls
    usage: Usage | None = None
    finish_reason: str | None = None
    cut: bool = False
    ends_early: bool = False
    model: str | None = None
    reasoning: str | None = None

    def message(self) -> dict[str, Any]:
        """Return the assistant's message."""
        thought = {} if self.reasoning is None else {"reasoning_content": self.reasoning}
        if isinstance(self.content, str):
            return {"role": "assistant", "content": self.content, **thought}
        return {"role": "assistant", "content": None, **thought, "tool_calls": self.content.as_openai()}

    def reason(self) -> str:
        """Return why the model stopped."""
        return self.finish_reason or ("stop" if isinstance(self.content, str) else "tool_calls")


Model = Callable[[Messages, Body], str | ToolCalls | Reply | Fault]


def parse_body(raw: bytes) -> Body:
    """Read the body of a chat completion request.

    Raises:
        Fault: 400 when it is not JSON, or lacks a model or messages.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise Fault(400) from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Fault(400, "You must provide a model parameter.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        raise Fault(400, "Invalid type for 'messages': expected an array of objects with at least one item.")
    if not isinstance(body.get("stream_options") or {}, dict):
        raise Fault(400, "Invalid type for 'stream_options': expected an object.")
    if type(body.get("n") or 1) is not int or not 1 <= (body.get("n") or 1) <= 128:
        raise Fault(400, "Invalid value for 'n': expected an integer from 1 to 128.")
    return body


def ask(model: Model, body: Body) -> list[Reply]:
    """Ask a model once per choice wanted.

    Raises:
        Fault: The model's own.
    """
    return [checked(model(body["messages"], body)) for _ in range(body.get("n") or 1)]


def checked(reply: object) -> Reply:
    """Return what a model gave as a reply, or raise its fault."""
    if isinstance(reply, Fault):
        raise reply.with_traceback(None)  # one fault may be raised for ever: its traceback must not grow
    if isinstance(reply, (str, ToolCalls)):
        return Reply(reply)
    if isinstance(reply, Reply):
        return reply
    raise Fault(500, f"The model gave {reply!r}; expected str, ToolCalls, Reply or Fault.")


def completion(body: Body, replies: list[Reply], number: int) -> bytes:
    """Write the body of a whole answer."""
    choices = [
        {"index": index, "message": reply.message(), "logprobs": None, "finish_reason": reply.reason()}
        for index, reply in enumerate(replies)
    ]
    return dump({**header(body, replies, number, "chat.completion"), "choices": choices, "usage": usage(body, replies)})


def chunks(body: Body, replies: list[Reply], number: int) -> Iterator[bytes]:
    """Write the data of every event of a streamed answer but the closing `[DONE]`."""
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    base = {**header(body, replies, number, "chat.completion.chunk"), **({"usage": None} if with_usage else {})}
    for index, reply in enumerate(replies):
        for delta in deltas(reply.message()):
            yield dump({**base, "choices": [{"index": index, "delta": delta, "finish_reason": None}]})
        yield dump({**base, "choices": [{"index": index, "delta": {}, "finish_reason": reply.reason()}]})
    if with_usage:
        yield dump({**base, "choices": [], "usage": usage(body, replies)})


def deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a message into deltas: the role, then words, or each tool's name and its arguments word by word."""
    yield {"role": "assistant", "content": None if "tool_calls" in message else ""}
    for piece in pieces(message["content"]) if "tool_calls" not in message else ():
        yield {"content": piece}
    for index, call in enumerate(message.get("tool_calls", ())):
        yield {"tool_calls": [{"index": index, **call, "function": {**call["function"], "arguments": ""}}]}
        for piece in pieces(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def header(body: Body, replies: list[Reply], number: int, kind: str) -> dict[str, Any]:
    """Return the fields that a whole answer and every chunk of a streamed one begin with."""
    model = replies[0].model or body["model"]
    return {"id": f"chatcmpl-{number}", "object": kind, "created": int(time.time()), "model": model}


def usage(body: Body, replies: list[Reply]) -> dict[str, object]:
    """Return the tokens of all choices; the prompt, read once, is billed once."""
    asked = sum(len(str(message.get("content"))) for message in body["messages"]) // CHARACTERS_PER_TOKEN + 1
    each = [reply.usage or Usage(asked, len(str(reply.content)) // CHARACTERS_PER_TOKEN + 1) for reply in replies]
    total = Usage(
        input_tokens=each[0].input_tokens,
        output_tokens=sum(one.output_tokens for one in each),
        cached_tokens=each[0].cached_tokens,
        reasoning_tokens=sum(one.reasoning_tokens for one in each),
    )
    return total.as_openai()


def dump(data: object) -> bytes:
    """Write JSON without blanks."""
    return json.dumps(data, separators=(",", ":")).encode()

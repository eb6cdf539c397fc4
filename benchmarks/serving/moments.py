"""What the language model streams: words that are each the moment at which they were sent.

The clock is the one that all processes of a machine share, so that whoever gets a word knows how long it took.
"""

import json
import re
import time
from collections.abc import Iterator

# Of each field that is streamed.
WORDS = 10
_HEADERS = ("[[ ## reasoning ## ]]\n", "\n\n[[ ## answer ## ]]\n")
_END = "\n\n[[ ## completed ## ]]"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini-2024-07-18"}
_USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
_WORD = re.compile(r"\bt(\d{9,})\b")


def ages_of(text: str) -> list[float]:
    """How long ago the words in a text were sent, in seconds."""
    now = time.monotonic_ns()
    return [(now - int(moment)) / 1e9 for moment in _WORD.findall(text)]


def wants_stream(body: bytes) -> bool:
    """Whether the body of a request asks for a stream."""
    return b'"stream":true' in body.replace(b" ", b"")


def parts() -> Iterator[bytes]:
    """The parts of a streamed HTTP response, each made when it is asked for.

    A field's header is an event of its own, in one part with that of the first word.
    """
    before = _HEAD
    for header in _HEADERS:
        before += _said(header)
        for place in range(WORDS):
            yield before + _said(f"{' ' if place else ''}t{time.monotonic_ns()}")
            before = b""
    ended = _event(_choice({}, "stop")) + _event({"choices": [], "usage": _USAGE}) + _framed("[DONE]")
    yield _said(_END) + ended + b"0\r\n\r\n"


def _said(text: str) -> bytes:
    return _event(_choice({"role": "assistant", "content": text}, None))


def _choice(delta: dict[str, str], finish_reason: str | None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _event(told: dict[str, object]) -> bytes:
    return _framed(json.dumps({**_CHUNK, **told}))


def _framed(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)

"""A language model on loopback that answers every request alike after a while, whole or streamed, at next to no CPU.

The tests' server reads what it is asked; this one only counts bytes, so that it is not what is measured.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.moments import parts, wants_stream

ROOT = Path(__file__).parents[2]
_BACKLOG = 2048
_TEXT = "[[ ## reasoning ## ]]\nIt says so.\n\n[[ ## answer ## ]]\n42\n\n[[ ## completed ## ]]"
_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
}


def response(body: bytes) -> bytes:
    """A whole HTTP response."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


_ANSWER = response(json.dumps(_COMPLETION).encode())


class Connection(asyncio.Protocol):
    """One connection: a request after the other, each answered after the latency.

    A GET asks how many requests were under way at once, at most, since the last GET.

    Args:
        latency: Seconds before an answer.
        pace: Seconds from one word of a stream to the next.
    """

    at_once = most_at_once = 0

    def __init__(self, latency: float, pace: float) -> None:
        self._latency, self._pace, self._received = latency, pace, b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Remember where answers go."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take a request once it is whole; clients send the next after the answer."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._received = b""
        if head.startswith(b"GET"):
            self._transport.write(response(str(Connection.most_at_once).encode()))
            Connection.most_at_once = Connection.at_once
            return
        Connection.at_once += 1
        Connection.most_at_once = max(Connection.most_at_once, Connection.at_once)
        answer = (self._stream, parts()) if wants_stream(body) else (self._answer,)
        asyncio.get_running_loop().call_later(self._latency, *answer)

    def _answer(self) -> None:
        Connection.at_once -= 1
        self._transport.write(_ANSWER)

    def _stream(self, told: Iterator[bytes]) -> None:
        if self._transport.is_closing() or (part := next(told, None)) is None:
            Connection.at_once -= 1
            return
        self._transport.write(part)
        asyncio.get_running_loop().call_later(self._pace, self._stream, told)


def _length(head: bytes) -> int:
    name, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


@contextmanager
def language_model(latency: float, pace: float = 0.02) -> Iterator[str]:
    """Serve in a process of its own; gives the base URL for clients."""
    command = [sys.executable, "-m", "benchmarks.serving.lm", str(latency), str(pace)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


async def serve(latency: float, pace: float) -> None:
    """Serve until killed; says where on standard output."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency, pace), sock=listener, backlog=_BACKLOG)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve with the latency and the pace that are given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.lm", description=__doc__)
    parser.add_argument("latency", type=float, help="seconds before an answer")
    parser.add_argument("pace", type=float, help="seconds from one word of a stream to the next")
    given = parser.parse_args()
    asyncio.run(serve(given.latency, given.pace))


if __name__ == "__main__":
    main()

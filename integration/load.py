"""Clients that ask a server without a pause, over bare streams: a client library would measure itself."""

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any


class Load:
    """What clients of a server have got until now.

    Attributes:
        answers: How often each answer has come: a status and a body, or the error of a connection.
    """

    def __init__(self) -> None:
        self.answers: Counter[tuple[int | str, str]] = Counter()
        self.ended = threading.Event()

    @property
    def count(self) -> int:
        """How many have come."""
        return sum(self.answers.values())

    def wait_for(self, answer: tuple[int, str], times: int = 1) -> None:
        """Wait until an answer has come so many times more.

        Raises:
            AssertionError: If it does not within two minutes.
        """
        before = self.answers[answer]
        for _ in range(1200):
            if self.answers[answer] >= before + times:
                return
            self.ended.wait(0.1)
        raise AssertionError(f"{answer} did not come {times} times more; there are {self.answers}")


@contextlib.contextmanager
def load(port: int, path: str, body: Any, clients: int) -> Iterator[Load]:
    """Have so many clients send a body as JSON as long as the block lasts; those under way are waited for."""
    told, content = Load(), json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    request = head.encode() + b"\r\n\r\n" + content

    async def ask_on() -> None:
        await asyncio.gather(*(_client(port, request, told) for _ in range(clients)))

    thread = threading.Thread(target=lambda: asyncio.run(ask_on()), name="load")
    thread.start()
    try:
        yield told
    finally:
        told.ended.set()
        thread.join()


async def _client(port: int, request: bytes, told: Load) -> None:
    """Ask again and again over one connection, and over a new one where that ends."""
    while not told.ended.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                while not told.ended.is_set():
                    writer.write(request)
                    told.answers[await _answer(reader)] += 1
        except (OSError, EOFError) as error:
            told.answers[type(error).__name__, ""] += 1


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), body.decode()

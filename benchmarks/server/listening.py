"""Clients that have answers streamed to them, on bare asyncio streams: how old each word was when it came."""

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.serving.moments import WORDS, ages_of

_PATIENCE = 120.0
# Of two fields.
_WORDS_OF_A_STREAM = 2 * WORDS


@dataclass
class Heard:
    """What the clients heard.

    Attributes:
        first: How old the first word of each stream was, in seconds.
        later: How old the other words were.
        whole: How many streams came whole.
        errors: What else came, and how often.
    """

    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    whole: int = 0
    errors: dict[str, int] = field(default_factory=dict)


def listen(url: str, body: bytes, clients: int, seconds: float) -> Heard:
    """Have so many clients listen to a stream after the other, until the time is over."""
    return asyncio.run(_listen(url, body, clients, seconds))


async def _listen(url: str, body: bytes, clients: int, seconds: float) -> Heard:
    heard, end = Heard(), time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < end:
            try:
                await asyncio.wait_for(_stream(url, body, heard), _PATIENCE)
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                _note(heard, type(error).__name__)

    await asyncio.gather(*(client() for _ in range(clients)))
    return heard


async def _stream(url: str, body: bytes, heard: Heard) -> None:
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        head = f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
        words, ended = 0, False
        async for line in reader:
            # The last event may say all of it again, as a prediction.
            ages = ages_of(line.decode()) if words < _WORDS_OF_A_STREAM else []
            heard.first += ages[: not words]
            heard.later += ages[not words :]
            words += len(ages)
            ended = ended or b"[DONE]" in line
        heard.whole += ended and words == _WORDS_OF_A_STREAM
        if not ended or words != _WORDS_OF_A_STREAM:
            _note(heard, f"{status.decode()}, {words} words")
    finally:
        writer.close()


def _note(heard: Heard, error: str) -> None:
    heard.errors[error] = heard.errors.get(error, 0) + 1

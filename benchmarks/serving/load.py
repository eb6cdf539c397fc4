"""Clients that ask an HTTP server over and over, on bare asyncio streams: a client library would measure itself."""

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Longer than any answer takes; who waits so long is an error.
_PATIENCE = 60.0


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: How long answers were counted.
        latencies: How long each answer that came then had taken, in seconds.
        errors: Answers other than 200 then, and connections that broke, by what they said.
        stall: The longest time in which no answer came.
        answers: How many answers there were at any time.
    """

    seconds: float
    latencies: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    stall: float = 0.0
    answers: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """The latency that so many of a hundred answers did not exceed, in seconds; NaN of none."""
        if len(self.latencies) < 2:
            return float("nan")
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


def load(url: str, body: bytes, clients: int, seconds: float, warm_up: float) -> Load:
    """Ask by so many clients at once, each again as soon as it is answered.

    Args:
        url: What is asked.
        body: The JSON that is sent.
        clients: How many.
        seconds: How long answers are counted.
        warm_up: How long they ask before that.
    """
    return asyncio.run(_Clients(url, body, Load(seconds)).run(clients, warm_up))


class _Clients:
    """Clients of one server.

    Args:
        url: What they ask.
        body: What they send.
        seen: What they see goes here.
    """

    def __init__(self, url: str, body: bytes, seen: Load) -> None:
        at = urlsplit(url)
        self._address = (at.hostname, at.port)
        head = f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._seen = seen
        self._ended: list[float] = []

    async def run(self, clients: int, warm_up: float) -> Load:
        """Ask until the time is over, and say what was seen."""
        self._begin = time.perf_counter() + warm_up
        self._end = self._begin + self._seen.seconds
        await asyncio.gather(*(self._client() for _ in range(clients)))
        moments = [self._begin, *sorted(self._ended), self._end]
        self._seen.stall = max(later - earlier for earlier, later in zip(moments, moments[1:], strict=False))
        return self._seen

    async def _client(self) -> None:
        while time.perf_counter() < self._end:
            try:
                await asyncio.wait_for(self._connection(), self._end - time.perf_counter() + _PATIENCE)
            except (OSError, EOFError, asyncio.TimeoutError) as error:
                self._note(type(error).__name__)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            while (begun := time.perf_counter()) < self._end:
                writer.write(self._request)
                status = await _status_of_answer(reader)
                if status == b"200":
                    self._answered(begun)
                else:
                    self._note(status.decode())
        finally:
            writer.close()

    def _answered(self, begun: float) -> None:
        now = time.perf_counter()
        self._seen.answers += 1
        if self._begin <= now <= self._end:
            self._seen.latencies.append(now - begun)
            self._ended.append(now)

    def _note(self, error: str) -> None:
        # At any time: one while warming up is no less of an error.
        self._seen.errors[error] = self._seen.errors.get(error, 0) + 1


async def _status_of_answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length))
    return head.split(b" ", 2)[1]

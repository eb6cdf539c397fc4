"""Whose turn it is: requests that are answered at a time in an event loop, and how many more may wait."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future

from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from mlflow_dspy_plugin.errors import CallError
from mlflow_dspy_plugin.serving.places import begin_place


class BusyError(CallError):
    """A request was refused before anything was done for it: too many wait."""


class Admission:
    """Lets so many in at a time, in the order in which they came.

    Args:
        at_a_time: How many.
        waiting: How many more may wait.

    Attributes:
        running: How many are in now.
    """

    def __init__(self, at_a_time: int, waiting: int) -> None:
        self._at_a_time, self._waiting, self.running = at_a_time, waiting, 0
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def queued(self) -> int:
        """How many wait now."""
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """A block for as many as may run at a time; its place is free once the threads that work for it have ended.

        Raises:
            BusyError: If too many wait.
        """
        if self.running < self._at_a_time:
            self.running += 1
        else:
            await self._turn()
        work = begin_place()
        try:
            yield
        finally:
            self._leave_after(work)

    async def _turn(self) -> None:
        if len(self._queue) >= self._waiting:
            raise BusyError(
                "The model server has as many requests as it can take. Send this one again later.",
                TEMPORARILY_UNAVAILABLE,
            )
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # It may have come in the same moment.
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self._queue.remove(turn)
            else:
                self._leave()
            raise

    def _leave_after(self, work: list[Future]) -> None:
        """Leave once all work has ended, which may begin other work."""
        under_way = next((each for each in work if not each.done()), None)
        if under_way is None:
            self._leave()
            return
        loop = asyncio.get_running_loop()

        def look_again(_: Future) -> None:
            # The loop is closed where the server has ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._leave_after, work)

        under_way.add_done_callback(look_again)

    def _leave(self) -> None:
        """Hand the place on, or give it up."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1

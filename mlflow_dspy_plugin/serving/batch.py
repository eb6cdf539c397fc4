"""Rows side by side, in threads or tasks of a bounded number; their answers keep their order."""

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any


def answer_all(count: int, answer: Callable[[int], Any], at_a_time: int) -> list[Any]:
    """Answer rows, each in a copy of this context.

    Args:
        count: How many rows there are.
        answer: Answers a row, by its place.
        at_a_time: How many at a time.

    Returns:
        The answers by place.

    Raises:
        BaseException: What the first of the rows that failed has raised. Rows that were under way have ended by then,
            and no other row has begun.
    """
    if count == 1:
        return [answer(0)]
    batch = _Batch(count, answer)
    with ThreadPoolExecutor(min(at_a_time, count), thread_name_prefix="mlflow-dspy-rows") as pool:
        try:
            workers = [pool.submit(contextvars.copy_context().run, batch.work) for _ in range(min(at_a_time, count))]
            wait(workers, return_when=FIRST_EXCEPTION)
        finally:
            batch.stopped.set()
    return batch.answered([error for worker in workers if (error := worker.exception()) is not None])


async def aanswer_all(count: int, answer: Callable[[int], Awaitable[Any]], at_a_time: int) -> list[Any]:
    """Answer rows in the event loop that runs; else as `answer_all` does. Cancelling this cancels them."""
    if count == 1:
        return [await answer(0)]
    batch = _Batch(count, answer)
    workers = {asyncio.ensure_future(batch.awork()) for _ in range(min(at_a_time, count))}
    try:
        await asyncio.wait(workers, return_when=FIRST_EXCEPTION)
        batch.stopped.set()
        await asyncio.wait(workers)
    finally:
        for worker in workers:
            worker.cancel()
    return batch.answered([error for worker in workers if (error := worker.exception()) is not None])


class _Batch:
    """Rows that several threads take from, one after the other.

    Attributes:
        answers: Of the rows that have ended, by place.
        places: The places of the rows that have failed, by the id of what they raised.
        stopped: No other row is begun once it is set.
    """

    def __init__(self, count: int, answer: Callable[[int], Any]) -> None:
        self.answers: list[Any] = [None] * count
        self.places: dict[int, int] = {}
        self.stopped = threading.Event()
        self._answer = answer
        self._rows = iter(range(count))

    def work(self) -> None:
        """Answer rows until there are no more."""
        for place in self._rows:
            if self.stopped.is_set():
                return
            try:
                self.answers[place] = self._answer(place)
            except BaseException as error:
                self.places[id(error)] = place
                raise

    async def awork(self) -> None:
        """Answer rows until there are no more, awaiting each."""
        for place in self._rows:
            if self.stopped.is_set():
                return
            try:
                self.answers[place] = await self._answer(place)
            except BaseException as error:
                self.places[id(error)] = place
                raise

    def answered(self, failures: list[BaseException]) -> list[Any]:
        """The answers of all rows.

        Raises:
            BaseException: What the first of the rows that failed has raised.
        """
        if failures:
            raise min(failures, key=lambda error: self.places[id(error)])
        return self.answers

"""One call of a program, from threads and event loops alike, whether its `forward` is synchronous or not."""

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import anyio
import dspy

from mlflow_dspy_plugin.serving.places import hold_place

# The loops, by the names of their threads: one that programs run in, one that hosts the threads of streams.
PROGRAMS, THREADS = "mlflow-dspy-calls", "mlflow-dspy-streams"
_making = threading.Lock()


def call(program: dspy.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a program and wait for what it returns.

    One that has only an `aforward` runs in an event loop of this package's: whoever calls may be in one that runs.
    """
    if hasattr(type(program), "forward"):
        return program(*args, **kwargs)
    return wait_for(program.acall(*args, **kwargs))


async def acall(program: dspy.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], awaited: bool) -> "Ending":
    """Call a program without holding up the event loop that runs.

    Args:
        program: The program.
        args: Positional arguments.
        kwargs: Keyword arguments.
        awaited: Whether it may run in this loop; else it runs in a thread.

    Raises:
        asyncio.CancelledError: If this is cancelled, once the program has been. A thread cannot be.
    """
    if awaited:
        return await _apart(program.acall(*args, **kwargs))
    return await in_thread(functools.partial(call, program, args, kwargs))


async def _apart(call: Awaitable[Any]) -> "Ending":
    """Await a call in a task of its own: that it was cancelled is then not taken for what it raised."""
    task = asyncio.ensure_future(Ending.awaited(call))
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    return task.result()


def wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns or raises; it runs in a copy of this context, and is cancelled if this is interrupted.

    All run in one loop: what programs keep (clients, sessions, locks) and the connections of language models belong to
    the loop that they were used in first.
    """
    loop = _loop(PROGRAMS)
    ending = Ending.awaited(coroutine)
    if _runs_here(loop):
        # To wait for itself, it would wait for ever.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(contextvars.copy_context().run, asyncio.run, ending).result().result()
    future = asyncio.run_coroutine_threadsafe(ending, loop)
    try:
        return future.result().result()
    finally:
        future.cancel()


@dataclass(frozen=True)
class Ending:
    """How a call ended. As a value, since loops, futures and task groups take some exceptions for their own.

    Attributes:
        outputs: What it returned.
        error: What it raised; None if it returned.
    """

    outputs: Any
    error: BaseException | None

    @classmethod
    def of(cls, call: Callable[[], Any]) -> "Ending":
        """Make a call."""
        try:
            return cls(call(), None)
        except BaseException as error:
            return cls(None, error)

    @classmethod
    async def awaited(cls, call: Awaitable[Any]) -> "Ending":
        """Await a call to its end."""
        try:
            return cls(await call, None)
        except BaseException as error:
            return cls(None, error)

    def result(self) -> Any:
        """What it returned.

        Raises:
            BaseException: What it raised.
        """
        if self.error is not None:
            raise self.error
        return self.outputs


async def in_thread(call: Callable[[], Any]) -> Ending:
    """Make a call in a thread, in a copy of this context; it holds the place of the request that it is made for.

    In none of the loop's default executor: these are few, and DSPy itself asks for them in between.

    Raises:
        asyncio.CancelledError: If this is cancelled. The thread goes on, if it has begun.
    """
    ended: Future[None] = Future()
    hold_place(ended)

    def make() -> Ending | None:
        if not ended.set_running_or_notify_cancel():
            return None
        try:
            return Ending.of(call)
        finally:
            ended.set_result(None)

    try:
        return await anyio.to_thread.run_sync(make, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
    finally:
        # It may not have begun.
        ended.cancel()


def begin_in_thread(work: Callable[[], Any]) -> Future:
    """Begin work in a thread of its own, in a copy of this context. It may run an event loop, and block it.

    The thread is one of anyio's, in which DSPy finds a loop to send from where a program asks its language model
    without awaiting it.
    """

    async def host() -> Any:
        return await anyio.to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))

    return asyncio.run_coroutine_threadsafe(host(), _loop(THREADS))


def _loop(name: str) -> asyncio.AbstractEventLoop:
    with _making:
        return _made_for(os.getpid(), name)


@functools.cache
def _made_for(process: int, name: str) -> asyncio.AbstractEventLoop:
    """A loop of a process: a fork inherits the object, and not the thread that runs it."""
    loop = asyncio.new_event_loop()
    # In a context of its own: what it inherits of the first caller would stay.
    threading.Thread(target=_run, args=(loop,), name=name, daemon=True).start()
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop for ever: a task that exits ends its own call and not the loop, which others wait in."""
    while True:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False

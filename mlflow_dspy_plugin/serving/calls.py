"""One call of a program, from threads and event loops alike, whether its `forward` is synchronous or not."""

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dspy


def call(program: dspy.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Call a program and wait for what it returns.

    One that has only an `aforward` runs in an event loop of this package's: whoever calls may be in one that runs.
    """
    if hasattr(type(program), "forward"):
        return program(*args, **kwargs)
    return wait_for(program.acall(*args, **kwargs))


def wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns or raises; it runs in a copy of this context, and is cancelled if this is interrupted.

    All run in one loop, since clients of language models keep their connections by loop.
    """
    loop = _loop_of(os.getpid())
    if _runs_here(loop):
        # To wait for itself, it would wait for ever.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        return future.result()
    finally:
        future.cancel()


@functools.cache
def _loop_of(process: int) -> asyncio.AbstractEventLoop:
    """The loop of a process: a fork inherits the object, and not the thread that runs it."""
    loop = asyncio.new_event_loop()
    # In a context of its own: what it inherits of the first caller would stay.
    threading.Thread(target=loop.run_forever, name="mlflow-dspy-calls", daemon=True).start()
    return loop


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False

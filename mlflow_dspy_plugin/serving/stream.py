"""One call of a program, streamed: chunks of its text fields as the language model sends them, then its answer."""

import asyncio
import contextlib
import functools
import queue
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import anyio
import dspy
from dspy.streaming import StatusMessage, StreamResponse
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from mlflow_dspy_plugin.errors import CallError
from mlflow_dspy_plugin.seams.programs import streams_with
from mlflow_dspy_plugin.seams.streams import Listener, listened
from mlflow_dspy_plugin.serving.calls import Ending, begin_in_thread, in_thread
from mlflow_dspy_plugin.serving.failures import failing_clearly
from mlflow_dspy_plugin.serving.field_texts import FieldTexts
from mlflow_dspy_plugin.serving.places import hold_place


def stream_of(
    program: dspy.Module, settings: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[StreamResponse | StatusMessage | Any]:
    """Call the program under its settings and yield what it tells while it runs, and last what it returned.

    Args:
        program: The program.
        settings: DSPy's settings for this call.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.

    Yields:
        Chunks of the text fields of all predictors; messages of tools that are called; what the program returned. The
        call ends where whoever iterates goes away.

    Raises:
        MlflowException: What is made of what the program raised, once somebody iterates.
    """
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    return _received(received, _begin_in_thread(_stream(program, settings, args, kwargs), received.put))


def astream_of(
    program: dspy.Module, settings: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], in_loop: bool
) -> AsyncIterator[StreamResponse | StatusMessage | Any]:
    """As `stream_of`, without holding up the event loop that runs.

    Args:
        program: The program.
        settings: DSPy's settings for this call.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        in_loop: Whether the program may run in that loop; else it gets a thread.
    """
    received: asyncio.Queue[Any] = asyncio.Queue()
    told, loop = _stream(program, settings, args, kwargs), asyncio.get_running_loop()
    if in_loop:
        # A task of its own: what is set for the program is not set for whoever iterates.
        cancel = loop.create_task(_put(told, received)).cancel
    else:
        cancel = _begin_in_thread(told, functools.partial(_put_from_thread, loop, received))
    return _areceived(received, cancel)


async def _put(told: AsyncIterator[Any], received: asyncio.Queue) -> None:
    async def put_all() -> None:
        async for each in told:
            received.put_nowait(each)

    received.put_nowait(_End((await Ending.awaited(put_all())).error))


def _put_from_thread(loop: asyncio.AbstractEventLoop, received: asyncio.Queue, each: Any) -> None:
    # The loop is closed where the server has ended meanwhile.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(received.put_nowait, each)


async def _stream(program, settings, args, kwargs) -> AsyncIterator[Any]:
    # A list of its own: dspy 3.0 appends to that of the settings, and never takes it back.
    callbacks = list(settings.get("callbacks") or dspy.settings.callbacks)
    with dspy.context(**{**settings, "callbacks": callbacks}):
        streamed = _Streamed(program)
        listeners = _listeners(program) if streams_with(dspy.settings.adapter) else []
        streaming = dspy.streamify(streamed, stream_listeners=listeners, is_async_program=True)
        texts = FieldTexts()
        async for told in streaming(*args, **kwargs):
            # dspy 3.4 hands on the pieces of an LM's answer that no listener asked for.
            if isinstance(told, StreamResponse):
                told = texts.read(told)
            if isinstance(told, (StreamResponse, StatusMessage)):
                yield told
        outputs = streamed.ending.result()
        if streamed.is_broken:
            raise CallError(
                "The language model's stream broke off in the middle of an answer. Send the request again",
                TEMPORARILY_UNAVAILABLE,
            )
        yield outputs


def _listeners(program: dspy.Module) -> list[Listener]:
    """One for each text field of each predictor, which may be called several times."""
    return [
        Listener(field, predict=predictor, predict_name=name, allow_reuse=True)
        for name, predictor in program.named_predictors()
        for field, described in predictor.signature.output_fields.items()
        if described.annotation is str
    ]


class _Streamed:
    """A program as `dspy.streamify` takes one; however it ends, that ends the stream.

    Attributes:
        ending: How it ended.
        is_broken: Whether an answer of a language model has broken off while it was told.
    """

    def __init__(self, program: dspy.Module) -> None:
        self.named_predictors, self.ending, self.is_broken = program.named_predictors, None, False
        self._program = program

    async def acall(self, *args: Any, **kwargs: Any) -> dspy.Prediction:
        """Call the program."""
        with listened() as stream:
            self.ending = await self._ending(args, kwargs)
        self.is_broken = stream.is_broken
        # DSPy waits for a prediction, for ever.
        outputs = self.ending.outputs
        return outputs if isinstance(outputs, dspy.Prediction) else dspy.Prediction()

    async def _ending(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Ending:
        # Only one that awaits its language model stops asking when nobody listens anymore.
        if hasattr(type(self._program), "aforward"):
            sent = _Sent(dspy.settings.send_stream)
            with dspy.context(send_stream=sent):
                ending = await Ending.awaited(self._program.acall(*args, **kwargs))
            await sent.flush()
            return ending
        # `dspy.asyncify` lets eight run, and loses those that wait for their turn in other event loops.
        return await in_thread(functools.partial(self._program, *args, **kwargs))


class _Sent:
    """DSPy's stream, for a program that may hold up the event loop it runs in: what it sends meanwhile follows."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._loop = stream, asyncio.get_running_loop()
        self._late: deque[Any] = deque()
        self._flushing: asyncio.Task | None = None

    async def send(self, item: Any) -> None:
        """Send, from whichever loop."""
        self._late.append(item)
        if asyncio.get_running_loop() is self._loop:
            await self.flush()
        else:
            # The loop's own thread may be what waits for this.
            self._loop.call_soon_threadsafe(self._flush_soon)

    async def flush(self) -> None:
        """Send what is left."""
        # Whoever has gone away meanwhile has closed it.
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            while self._late:
                await self._stream.send(self._late.popleft())

    def _flush_soon(self) -> None:
        self._flushing = self._loop.create_task(self.flush())


def _begin_in_thread(told: AsyncIterator[Any], receive: Callable[[Any], None]) -> Callable[[], None]:
    """Iterate in a thread of its own, from now on, in a copy of this context: whoever receives keeps theirs.

    DSPy's own way of doing so loses the exception of the program (dspy 3.0.3), and goes on when nobody listens.

    Args:
        told: What is iterated.
        receive: Takes each, and last an `_End`; called in that thread.

    Returns:
        Ends it before its end.
    """
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task]] = Future()

    async def forward() -> None:
        begun.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        async for each in told:
            receive(each)

    def run() -> None:
        # Told once the event loop is closed: the process may end then.
        receive(_End(Ending.of(lambda: asyncio.run(forward())).error))

    thread = begin_in_thread(run)
    hold_place(thread)
    thread.add_done_callback(functools.partial(_tell_failure, receive))
    return lambda: begun.add_done_callback(_cancel)


def _tell_failure(receive: Callable[[Any], None], thread: Future) -> None:
    # There was no thread to be had.
    if (error := thread.exception()) is not None:
        receive(_End(error))


def _cancel(begun: Future) -> None:
    loop, task = begun.result()
    # The loop may be closed by now.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(task.cancel)


def _received(received: queue.SimpleQueue, cancel: Callable[[], None]) -> Iterator[Any]:
    """What is put, until its end; whoever goes away before ends what puts it."""
    each = None
    try:
        while not isinstance(each := received.get(), _End):
            yield each
        each.check()
    finally:
        if not isinstance(each, _End):
            cancel()


async def _areceived(received: asyncio.Queue, cancel: Callable[[], None]) -> AsyncIterator[Any]:
    each = None
    try:
        while not isinstance(each := await received.get(), _End):
            yield each
        each.check()
    finally:
        if not isinstance(each, _End):
            cancel()


class _End:
    """The end of a stream.

    Attributes:
        error: What ended it, if something did; of a group with one exception, that one.
    """

    def __init__(self, error: BaseException | None):
        while len(inner := getattr(error, "exceptions", ())) == 1:
            error = inner[0]
        self.error = error

    def check(self) -> None:
        """Raise what is made of what ended it."""
        with failing_clearly():
            if self.error is not None:
                raise self.error

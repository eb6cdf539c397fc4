"""One call of a program, streamed: chunks of its text fields as the language model sends them, then its answer."""

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import dspy
from dspy.streaming import StatusMessage, StreamResponse
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from mlflow_dspy_plugin.errors import CallError
from mlflow_dspy_plugin.seams.programs import streams_with
from mlflow_dspy_plugin.seams.streams import Listener, listened
from mlflow_dspy_plugin.serving.field_texts import FieldTexts

_END = object()


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
    """
    return _in_a_thread(_stream(program, settings, args, kwargs))


# Before anything was streamed.
NOTHING = StreamResponse("", "", "", is_last_chunk=True)


def item_of(chunk: StreamResponse, **beside: Any) -> dict[str, Any]:
    """What `predict_stream` yields: a chunk, or what is told beside an empty one."""
    # Of the field that was streamed last: whoever adds up the chunks of each field adds nothing.
    return {**asdict(chunk), "chunk": "", **beside} if beside else asdict(chunk)


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
        if streamed.is_broken:
            raise CallError(
                "The language model's stream broke off in the middle of an answer. Send the request again",
                TEMPORARILY_UNAVAILABLE,
            )
        yield streamed.outputs


def _listeners(program: dspy.Module) -> list[Listener]:
    """One for each text field of each predictor, which may be called several times."""
    return [
        Listener(field, predict=predictor, predict_name=name, allow_reuse=True)
        for name, predictor in program.named_predictors()
        for field, described in predictor.signature.output_fields.items()
        if described.annotation is str
    ]


class _Streamed:
    """A program as `dspy.streamify` takes one; whatever it returns ends the stream.

    Attributes:
        outputs: What the program returned.
        is_broken: Whether an answer of a language model has broken off while it was told.
    """

    def __init__(self, program: dspy.Module) -> None:
        self.named_predictors, self.outputs, self.is_broken = program.named_predictors, None, False
        # Only one that awaits its language model stops asking when nobody listens anymore.
        self._call = program.acall if hasattr(type(program), "aforward") else dspy.asyncify(program)

    async def acall(self, *args: Any, **kwargs: Any) -> dspy.Prediction:
        """Call the program."""
        with listened() as stream:
            self.outputs = await self._call(*args, **kwargs)
        self.is_broken = stream.is_broken
        # DSPy waits for a prediction, for ever.
        return self.outputs if isinstance(self.outputs, dspy.Prediction) else dspy.Prediction()


def _in_a_thread(told: AsyncIterator[Any]) -> Iterator[Any]:
    """Iterate in a thread of its own, from now on, in a copy of this context: whoever iterates keeps theirs.

    DSPy's own way of doing so loses the exception of the program (dspy 3.0.3), and goes on when nobody listens.
    """
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    begun: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def forward() -> None:
        begun.put((asyncio.get_running_loop(), asyncio.current_task()))
        try:
            async for each in told:
                received.put(each)
        except (Exception, asyncio.CancelledError) as error:
            received.put(_Failure(error))
        finally:
            received.put(_END)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(asyncio.run, forward()), daemon=True).start()
    return _received(received, *begun.get())


def _received(received: queue.SimpleQueue, loop: asyncio.AbstractEventLoop, task: asyncio.Task) -> Iterator[Any]:
    """What is put, until its end; whoever goes away before ends the task."""
    ended = False
    try:
        while (each := received.get()) is not _END:
            if isinstance(each, _Failure):
                raise each.error
            yield each
        ended = True
    finally:
        if not ended and not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)


class _Failure:
    """The exception that ended a stream; of a task group with one, that one."""

    def __init__(self, error: BaseException):
        while len(inner := getattr(error, "exceptions", ())) == 1:
            error = inner[0]
        self.error = error

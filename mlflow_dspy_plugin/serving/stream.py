"""One call of a program, streamed: chunks of its text fields as the language model sends them."""

import asyncio
import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin.serving.outputs import plain

_END = object()


def stream_of(
    program: dspy.Module,
    settings: Mapping[str, Any],
    outputs: list[str],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Iterator[Any]:
    """Call the program under its settings and yield the chunks of its output fields.

    Args:
        program: The program.
        settings: DSPy's settings for this call.
        outputs: The names of the fields to stream.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.

    Yields:
        `{"predict_name", "signature_field_name", "chunk"}`; a program whose answer was not
        streamed (it came from DSPy's cache) yields its fields at once.
    """
    chunks = _stream(program, settings, outputs, args, kwargs)
    for chunk in _in_a_thread(chunks):
        yield asdict(chunk) if is_dataclass(chunk) else plain(chunk)


async def _stream(program, settings, outputs, args, kwargs) -> AsyncIterator[Any]:
    listeners = [dspy.streaming.StreamListener(signature_field_name=name) for name in outputs]
    # A list of its own: dspy 3.0 appends to that of the settings, and never takes it back.
    callbacks = list(settings.get("callbacks") or dspy.settings.callbacks)
    with dspy.context(**{**settings, "callbacks": callbacks}):
        streaming = dspy.streamify(program, stream_listeners=listeners, include_final_prediction_in_output_stream=False)
        async for chunk in streaming(*args, **kwargs):
            yield chunk


def _in_a_thread(chunks: AsyncIterator[Any]) -> Iterator[Any]:
    """Iterate in a thread of its own, in a copy of this context: whoever iterates keeps theirs.

    DSPy's own way of doing so loses the exception of the program (dspy 3.0.3).
    """
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    abandoned = threading.Event()

    async def forward() -> None:
        try:
            async for chunk in chunks:
                received.put(chunk)
                if abandoned.is_set():
                    break
        except Exception as error:
            received.put(_Failure(error))
        finally:
            received.put(_END)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(asyncio.run, forward()), daemon=True).start()
    try:
        while (chunk := received.get()) is not _END:
            if isinstance(chunk, _Failure):
                raise chunk.error
            yield chunk
    finally:
        abandoned.set()


class _Failure:
    """The exception that ended a stream; of a task group with one, that one."""

    def __init__(self, error: BaseException):
        while len(inner := getattr(error, "exceptions", ())) == 1:
            error = inner[0]
        self.error = error

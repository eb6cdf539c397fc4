"""Calls of which DSPy tells no callback: of embedders, some retrievers, and before dspy 3.4 interpreters."""

import functools
import inspect
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import dspy
from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback
from dspy.utils.unbatchify import Unbatchify

from mlflow_dspy_plugin.seams.current_span import CurrentSpan
from mlflow_dspy_plugin.seams.dspy import Watcher
from mlflow_dspy_plugin.seams.handed_down import HANDED_DOWN
from mlflow_dspy_plugin.seams.patch import patch
from mlflow_dspy_plugin.seams.threads import run_with, values_of
from mlflow_dspy_plugin.seams.trace_context import TRACE_CONTEXT

_INHERITED = (CurrentSpan(), HANDED_DOWN)
# A class's method -> what the handlers of its start and its end are called, after `on_`.
_METHODS: list[tuple[type, str, str]] = [
    (dspy.Embedder, "__call__", "embedder"),
    (dspy.Embedder, "acall", "embedder"),
    (dspy.retrievers.Embeddings, "__call__", "retriever"),
    (dspy.ColBERTv2, "__call__", "retriever"),
]
if not hasattr(BaseCallback, "on_interpreter_execute_start"):
    _METHODS.append((dspy.PythonInterpreter, "execute", "interpreter_execute"))


def watch_uncovered_calls(watcher: Watcher) -> Callable[[], None]:
    """Call `on_embedder_start` and so on of the watcher, as DSPy calls its handlers; returns the undo."""
    undo = [_carry_into_batches()]
    undo += [patch(owner, name, functools.partial(_reporting, watcher, event)) for owner, name, event in _METHODS]

    def stop() -> None:
        while undo:
            undo.pop()()

    return stop


def _carry_into_batches() -> Callable[[], None]:
    """Have the embedder of `Embeddings` called below a query that it is for.

    DSPy gathers the queries of all threads into batches, in a thread that is as old as the retriever.
    """
    waiting: dict[int, Any] = {}

    def ask(original):
        def __call__(self, input_item):
            # The thread has begun in another block of `context`, perhaps: where there is none here, none holds.
            waiting[id(input_item)] = [*values_of(_INHERITED), (TRACE_CONTEXT, TRACE_CONTEXT.get())]
            try:
                return original(self, input_item)
            finally:
                waiting.pop(id(input_item), None)

        return __call__

    def answer(original):
        def _batch_forward(self, queries):
            inherited = waiting.get(id(queries[0]), []) if queries else []
            return run_with(inherited, original, self, queries)

        return _batch_forward

    undo = [patch(Unbatchify, "__call__", ask), patch(dspy.retrievers.Embeddings, "_batch_forward", answer)]

    def stop() -> None:
        for each in undo:
            each()

    return stop


def _reporting(watcher: Watcher, event: str, original: Callable) -> Callable:
    @functools.wraps(original)
    def call(self, *args, **kwargs):
        with _reported(watcher, event, original, (self, *args), kwargs) as returned:
            returned.append(original(self, *args, **kwargs))
        return returned[0]

    @functools.wraps(original)
    async def acall(self, *args, **kwargs):
        with _reported(watcher, event, original, (self, *args), kwargs) as returned:
            returned.append(await original(self, *args, **kwargs))
        return returned[0]

    return acall if inspect.iscoroutinefunction(original) else call


@contextmanager
def _reported(watcher: Watcher, event: str, original: Callable, args: tuple, kwargs: dict) -> Iterator[list[Any]]:
    """Tell the watcher of a call; what it returns is to be put into the list."""
    returned: list[Any] = []
    if not watcher.listens():
        yield returned
        return
    call_id, exception = uuid.uuid4().hex, None
    getattr(watcher, f"on_{event}_start")(call_id=call_id, instance=args[0], inputs=_named(original, args, kwargs))
    token = ACTIVE_CALL_ID.set(call_id)
    try:
        yield returned
    except BaseException as error:
        exception = error
        raise
    finally:
        # A coroutine that is abandoned is closed in another context.
        with suppress(ValueError):
            ACTIVE_CALL_ID.reset(token)
        outputs = returned[0] if returned else None
        getattr(watcher, f"on_{event}_end")(call_id=call_id, outputs=outputs, exception=exception)


def _named(original: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments by name; those that do not fit are for the function itself to refuse."""
    try:
        named = inspect.getcallargs(original, *args, **kwargs)
    except TypeError:
        return dict(kwargs)
    return dict(list(named.items())[1:])

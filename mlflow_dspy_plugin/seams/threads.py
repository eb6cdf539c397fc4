"""Threads and executors that inherit a few variables of the code that starts them, and nothing else.

Python starts threads with an empty context. To copy the whole context into them would change the
program: DSPy's settings are in it.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from threading import Thread
from typing import Any, Protocol

from mlflow_dspy_plugin.seams.patch import patch

# Python >= 3.14: what is submitted is pickled into another interpreter.
_OTHER_INTERPRETERS = getattr(concurrent.futures, "InterpreterPoolExecutor", ())
# A worker of an executor outlives the call that made it necessary: it inherits by task, not by start.
_submitting: ContextVar[bool] = ContextVar("mlflow_dspy_plugin_submitting", default=False)


class Variable(Protocol):
    """A `ContextVar`, or what can be asked, set and reset like one; an empty value is not carried."""

    def get(self, default: Any) -> Any: ...
    def set(self, value: Any) -> Any: ...
    def reset(self, token: Any) -> None: ...


_Values = list[tuple[Variable, Any]]


def carry_into_threads(variables: Iterable[Variable]) -> Callable[[], None]:
    """Have what runs in another thread inherit the variables from where it was started or submitted.

    Returns:
        What undoes it; threads that run keep what they have inherited.
    """
    carried = list(variables)

    def values() -> _Values:
        return values_of(carried)

    undo = [
        patch(Thread, "start", functools.partial(_inheriting_start, values)),
        patch(ThreadPoolExecutor, "submit", functools.partial(_inheriting_submit, values)),
    ]

    def stop() -> None:
        # What somebody else has wrapped since stays in place, and carries nothing.
        carried.clear()
        while undo:
            undo.pop()()

    return stop


def values_of(variables: Iterable[Variable]) -> _Values:
    """What the variables hold here, for `run_with`."""
    return [(variable, value) for variable in variables if (value := variable.get(None))]


def run_with(inherited: _Values, function: Callable, /, *args: Any, **kwargs: Any) -> Any:
    """Call the function with the values set."""
    tokens = [(variable, variable.set(value)) for variable, value in inherited]
    try:
        return function(*args, **kwargs)
    finally:
        for variable, token in reversed(tokens):
            variable.reset(token)


def _inheriting_start(values: Callable[[], _Values], original: Callable) -> Callable:
    def start(self, /, *args, **kwargs):
        inherited = [] if _submitting.get() else values()
        if not inherited:
            return original(self, *args, **kwargs)
        take_off = _put_on(self, inherited)
        try:
            return original(self, *args, **kwargs)
        except BaseException:
            take_off()
            raise

    return start


def _inheriting_submit(values: Callable[[], _Values], original: Callable) -> Callable:
    def submit(self, /, *args, **kwargs):
        inherited = values()
        if not inherited or not args or isinstance(self, _OTHER_INTERPRETERS):
            return original(self, *args, **kwargs)
        function, *args = args
        token = _submitting.set(True)
        try:
            return original(self, functools.partial(run_with, inherited, function), *args, **kwargs)
        finally:
            _submitting.reset(token)

    return submit


def _put_on(thread: Thread, inherited: _Values) -> Callable[[], None]:
    """Have the thread's `run`, whoever has defined it, inherit; returns what puts it back.

    It stands on the thread itself only until it is called, so that it is found by nobody else.
    """
    attributes = vars(thread)
    before = {"run": attributes["run"]} if "run" in attributes else {}

    def run() -> None:
        take_off()
        run_with(inherited, thread.run)

    def take_off() -> None:
        if attributes.get("run") is run:
            del attributes["run"]
            attributes.update(before)

    attributes["run"] = run
    return take_off

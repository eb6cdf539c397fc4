"""The place that a request has among those that are answered at a time, which it keeps while a thread works for it."""

from concurrent.futures import Future
from contextvars import ContextVar

_WORK: ContextVar[list[Future] | None] = ContextVar("mlflow_dspy_work", default=None)


def begin_place() -> list[Future]:
    """Begin a place, for what runs in this context from now on; returns what will be done in it."""
    work: list[Future] = []
    _WORK.set(work)
    return work


def hold_place(work: Future) -> None:
    """Keep the place of this context until some work has ended: a thread goes on when nobody waits for it anymore."""
    held = _WORK.get()
    if held is not None:
        # Of many rows, one after the other.
        held[:] = [each for each in held if not each.done()]
        held.append(work)

"""Which trace a prediction was made in; the prediction itself is left as it is."""

import weakref
from typing import Any


class _Made(weakref.ref):
    """A prediction for as long as it lives, and its trace."""

    __slots__ = ("key", "trace_id")


# By identity: predictions are equal by their fields, which need not be hashable.
_made: dict[int, _Made] = {}


def remember(prediction: Any, trace_id: str) -> None:
    """Note the trace that a prediction was made in."""
    made = _Made(prediction, _forget)
    made.key, made.trace_id = id(prediction), trace_id
    _made[made.key] = made


def trace_id_of(prediction: Any) -> str | None:
    """Find the trace that a prediction was made in.

    `mlflow.get_last_active_trace_id()` knows the last trace alone; this one is right for each of
    the predictions of `dspy.Parallel`, of threads and of tasks.

    Args:
        prediction: What a program has returned: the object itself, since a copy was made in no trace.

    Returns:
        The id, as `mlflow.get_trace` takes it; None where the call was not traced.
    """
    made = _made.get(id(prediction))
    return made.trace_id if made is not None and made() is prediction else None


def _forget(made: _Made) -> None:
    if _made.get(made.key) is made:
        del _made[made.key]

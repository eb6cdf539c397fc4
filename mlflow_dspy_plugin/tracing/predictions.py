"""Which trace a prediction was made in; the prediction itself is left as it is."""

from typing import Any

from mlflow_dspy_plugin.programs.by_identity import ByIdentity

_trace_ids: ByIdentity[str] = ByIdentity()


def remember(prediction: Any, trace_id: str) -> None:
    """Note the trace that a prediction was made in."""
    _trace_ids.set(prediction, trace_id)


def trace_id_of(prediction: Any) -> str | None:
    """Find the trace that a prediction was made in.

    `mlflow.get_last_active_trace_id()` knows the last trace alone; this one is right for each of
    the predictions of `dspy.Parallel`, of threads and of tasks.

    Args:
        prediction: What a program has returned: the object itself, since a copy was made in no trace.

    Returns:
        The id, as `mlflow.get_trace` takes it; None where the call was not traced.
    """
    return _trace_ids.get(prediction)

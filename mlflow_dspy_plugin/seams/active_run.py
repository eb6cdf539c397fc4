"""MLflow's active run of this thread, entered and left without asking the store."""

from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.tracking import fluent
from mlflow.tracking.context.registry import resolve_tags


def experiment_id() -> str:
    """The experiment that a run begun here belongs to."""
    # MLflow asks the store for one that is known by its name only.
    return str(fluent._active_experiment_id or fluent._get_experiment_id())


def context_tags() -> dict[str, str]:
    """What MLflow says of every run: user, source, versions."""
    return {name: str(value) for name, value in resolve_tags().items() if value is not None}


def active_run_id() -> str | None:
    """The run that is active in this thread."""
    run = mlflow.active_run()
    return run.info.run_id if run is not None else None


def enter_run(run: Run) -> None:
    """Make a run the active one of this thread."""
    _stack().append(mlflow.ActiveRun(run))


def leave_run(run_id: str) -> None:
    """Make it active no more, in the thread that entered it."""
    stack = _stack()
    stack[:] = [run for run in stack if run.info.run_id != run_id]


def _stack() -> list[Any]:
    return fluent._active_run_stack.get()

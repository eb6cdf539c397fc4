"""MLflow's active run of this thread, entered and left without asking the store."""

from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME
from mlflow.tracking import fluent
from mlflow.tracking.context.registry import resolve_tags

# Stands before the name of an experiment whose id nobody has asked for.
BY_NAME = "name:"
# The runs that this package has made active: tasks of one thread share its active run.
_entered: set[str] = set()


def experiment() -> str:
    """The experiment that a run begun here belongs to: its id, or its name after `BY_NAME`.

    MLflow asks the store for what the environment says of it, and waits minutes for one that is not there.
    """
    if fluent._active_experiment_id:
        return str(fluent._active_experiment_id)
    if name := MLFLOW_EXPERIMENT_NAME.get():
        return f"{BY_NAME}{name}"
    return str(MLFLOW_EXPERIMENT_ID.get() or fluent._get_experiment_id())


def settle_experiment() -> None:
    """Have MLflow know the experiment of this process; where the environment names it, MLflow asks each time else.

    Raises:
        MlflowException: If the store is not there, or knows no such experiment.
    """
    if not fluent._active_experiment_id:
        mlflow.set_experiment(experiment_id=str(fluent._get_experiment_id()))


def context_tags() -> dict[str, str]:
    """What MLflow says of every run: user, source, versions."""
    return {name: str(value) for name, value in resolve_tags().items() if value is not None}


def active_run_id() -> str | None:
    """The run that the user has made active in this thread."""
    run = users_run()
    return run.info.run_id if run is not None else None


def users_run() -> Run | None:
    """The same as it was when it was made or resumed."""
    run = mlflow.active_run()
    return run if run is not None and run.info.run_id not in _entered else None


def enter_run(run: Run) -> None:
    """Make a run the active one of this thread."""
    _entered.add(run.info.run_id)
    _stack().append(mlflow.ActiveRun(run))


def leave_run(run_id: str) -> None:
    """Make it active no more, in the thread that entered it."""
    _entered.discard(run_id)
    stack = _stack()
    stack[:] = [run for run in stack if run.info.run_id != run_id]


def _stack() -> list[Any]:
    return fluent._active_run_stack.get()

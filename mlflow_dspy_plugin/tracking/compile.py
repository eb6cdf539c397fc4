"""One compile of an optimizer -> one optimization, whatever optimizer it is."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy
import mlflow
from mlflow.entities import Run as MlflowRun

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import attempt, never_raises
from mlflow_dspy_plugin.metering import METERS, REFLECTION, ROLE
from mlflow_dspy_plugin.recording.runs import Run, begin_run, recorder_for, run_there
from mlflow_dspy_plugin.seams import active_run, handed_down
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams.optimizers import made_with, wrapped
from mlflow_dspy_plugin.tracking import artifacts
from mlflow_dspy_plugin.tracking.evaluation import status_of
from mlflow_dspy_plugin.tracking.feedback import metric_name
from mlflow_dspy_plugin.tracking.optimization import Budget, Optimization
from mlflow_dspy_plugin.tracking.plain_values import learn_secrets_of_environment
from mlflow_dspy_plugin.tracking.record import Record
from mlflow_dspy_plugin.tracking.roles import STUDENT, is_part_of_a_call, shape_of

# Under this name the code of a compile inherits its optimization.
OPTIMIZATION = "optimization"
MOST_RUNS = 100
_DATASETS = ("trainset", "valset")
# Not worth a line: what every optimizer has, or what has a place of its own.
_NOT_PARAMETERS = {*_DATASETS, "student", "teacher", "callbacks", "metric", "self"}
_WAIT_FOR_RUN_SECONDS = 1.0
# Runs of the user's that hold an optimization.
_used: OrderedDict[str, bool] = OrderedDict()
_MOST_REMEMBERED = 1_000


@dataclass(frozen=True)
class _Open:
    optimization: Optimization
    handed_down: Any
    entered: str | None


class CompileCallback(dspy_seam.Watcher):
    """Records every compile; one inside another is a run below the other's.

    A run that the user has opened is used; else one is made, and active in the thread of the compile.

    Args:
        most_runs: How many runs there may be below that of a compile.
        evaluations: Whether evaluations get some of them, and not only the compiles inside.
    """

    def __init__(self, most_runs: int = MOST_RUNS, evaluations: bool = True) -> None:
        self._most_runs, self._evaluations = most_runs, evaluations
        self._open: dict[str, _Open] = {}

    def listens(self) -> bool:
        return not is_part_of_a_call()

    @never_raises
    def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        outer = handed_down.inherited(OPTIMIZATION)
        if not self.installed:
            return
        learn_secrets_of_environment()
        student = inputs.get("student")
        given = arguments_of(instance, inputs)
        metric = given.get("metric")
        record = Record(type(instance).__name__, parameters_of(given), student, metric_name(metric))
        run = run_for(record.optimizer, outer)
        budget = Budget(self._most_runs, self._evaluations) if outer is None else outer.budget
        optimization = Optimization(record, run, budget, outer)
        self._open[call_id] = _Open(optimization, hand_down(optimization, student), entered(run, outer))
        optimization.describe(student, artifacts.lm_parameters())
        for name in _DATASETS:
            if given.get(name) is not None:
                optimization.describe_examples(name, given[name])

    @never_raises
    def on_compile_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        opened = self._open.pop(call_id, None)
        if opened is None:
            return
        handed_down.take_back(opened.handed_down)
        if opened.entered is not None:
            active_run.leave_run(opened.entered)
        exception = exception or dspy_seam.interruption() if outputs is None else exception
        best = outputs if exception is None and isinstance(outputs, dspy.Module) else None
        try:
            opened.optimization.end(best, status_of(exception), exception)
        finally:
            opened.optimization.wait()


def hand_down(optimization: Optimization, student: Any) -> Any:
    """Have code inherit an optimization, with what it takes to tell whose LM calls are whose."""
    outer = handed_down.inherited(METERS) or ()
    meters = (*outer, optimization.record.meter)
    values = {METERS: meters, ROLE: REFLECTION, STUDENT: shape_of(student)}
    return handed_down.hand_down(**{OPTIMIZATION: optimization, **values})


def run_for(name: str, outer: Optimization | None) -> Run:
    if outer is not None:
        return outer.run_inside(name)
    recorder, experiment = recorder_for(mlflow.get_tracking_uri()), active_run.experiment()
    users = active_run.users_run()
    if users is None:
        return begin_run(recorder, experiment, name, active_run.context_tags())
    run = run_there(recorder, experiment, users.info.run_id)
    if holds_optimization(users):
        # What a run holds of one optimization, another one would overwrite.
        return run.child(name, {})
    _used[users.info.run_id] = True
    if len(_used) > _MOST_REMEMBERED:
        _used.popitem(last=False)
    return run


def holds_optimization(users: MlflowRun) -> bool:
    """Whether a run of the user's holds an optimization, of this process or of one before it was resumed."""
    return users.info.run_id in _used or names.TAG_OPTIMIZER in users.data.tags


def entered(run: Run, outer: Optimization | None) -> str | None:
    """Make the run active, if it is there soon; its id then."""
    if outer is not None or not run.owned or run.wait(_WAIT_FOR_RUN_SECONDS) is None:
        return None
    active_run.enter_run(run.recorder.store.made(run.key))
    return run.run_id


def arguments_of(optimizer: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the optimizer was made with, and its compile was called with: None there leaves it to the former."""
    made = attempt(lambda: made_with(optimizer), lambda error: {})
    # What it keeps of examples are those of an earlier compile, unless none are given to compile.
    kept = {name: value for name, value in made.items() if name not in _DATASETS or name not in inputs}
    return {**kept, **{name: value for name, value in inputs.items() if value is not None}}


def parameters_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as parameters: plain values, and names of the rest."""
    return {
        name: shown(value)
        for name, value in given.items()
        if not name.startswith("_") and name not in _NOT_PARAMETERS and value is not None
    }


def shown(value: Any) -> Any:
    """A parameter: a plain value, or what a person calls an object."""
    value = wrapped(value)
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dspy.BaseLM):
        return value.model
    if isinstance(value, Mapping):
        return {str(key): shown(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)) and len(value) <= 20:
        return [shown(each) for each in value]
    if isinstance(value, (list, tuple)):
        return f"{len(value)} items"
    return metric_name(value)

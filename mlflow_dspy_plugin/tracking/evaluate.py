"""Each call of `dspy.Evaluate` -> one evaluation: of a candidate, in the active run, or in a run of its own."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import Run as MlflowRun

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.metering import METERS
from mlflow_dspy_plugin.recording.runs import Run, begin_run, recorder_for, run_there
from mlflow_dspy_plugin.seams import active_run, handed_down
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.tracking.compile import OPTIMIZATION, entered, holds_optimization
from mlflow_dspy_plugin.tracking.evaluation import Evaluation
from mlflow_dspy_plugin.tracking.feedback import metric_name
from mlflow_dspy_plugin.tracking.optimization import Optimization
from mlflow_dspy_plugin.tracking.plain_values import learn_secrets_of_environment
from mlflow_dspy_plugin.tracking.roles import PROGRAM, is_part_of_a_call
from mlflow_dspy_plugin.tracking.rows import EVALUATION

_MOST_RUNS_REMEMBERED = 1_000
_KEY = "eval"
# How many evaluations runs of the user's have had; `autolog()` may be called again in between.
_evaluations: OrderedDict[str, int] = OrderedDict()


@dataclass(frozen=True)
class _Open:
    evaluation: Evaluation
    optimization: Optimization | None
    handed_down: Any
    entered: str | None


class EvaluationCallback(dspy_seam.Watcher):
    """Records each call of `dspy.Evaluate`.

    Args:
        alone: Whether those that belong to no optimization are recorded.
    """

    def __init__(self, alone: bool = True) -> None:
        self._alone = alone
        self._open: dict[str, _Open] = {}

    def listens(self) -> bool:
        return not is_part_of_a_call()

    @never_raises
    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        metadata = inputs.get("callback_metadata") or {}
        optimization = handed_down.inherited(OPTIMIZATION)
        if metadata.get("disable_logging") or not self.installed or not (self._alone or optimization):
            return
        asked = {
            name: inputs.get(name) if inputs.get(name) is not None else getattr(instance, name, None)
            for name in ("program", "metric", "devset")
        }
        learn_secrets_of_environment()
        key, run_id = metadata.get("metric_key", _KEY), None
        if optimization is not None:
            evaluation = optimization.begin_evaluation(**asked, key=key)
        else:
            users = active_run.users_run()
            run, step = _run_for(f"{key} {metric_name(asked['metric']) or 'score'}", users)
            beside = users is not None and holds_optimization(users)
            evaluation = Evaluation(**asked, key=key, run=run, step=step, beside_optimization=beside)
            run_id = entered(run, None)
            evaluation.describe()
        meters = (*(handed_down.inherited(METERS) or ()), evaluation.meter)
        handed = handed_down.hand_down(**{EVALUATION: evaluation, METERS: meters, PROGRAM: asked["program"]})
        self._open[call_id] = _Open(evaluation, optimization, handed, run_id)

    @never_raises
    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        opened = self._open.pop(call_id, None)
        if opened is None:
            return
        handed_down.take_back(opened.handed_down)
        if opened.entered is not None:
            active_run.leave_run(opened.entered)
        exception = exception or dspy_seam.interruption() if outputs is None else exception
        if opened.optimization is not None:
            opened.optimization.end_evaluation(opened.evaluation, outputs, exception)
            return
        opened.evaluation.end(outputs, exception)
        opened.evaluation.run.recorder.settle(opened.evaluation.watch.seconds)


def _run_for(name: str, users: MlflowRun | None) -> tuple[Run, int]:
    """The run of an evaluation that belongs to no optimization, and how many the run has had."""
    recorder, experiment = recorder_for(mlflow.get_tracking_uri()), active_run.experiment()
    if users is None:
        return begin_run(recorder, experiment, name, active_run.context_tags()), 0
    run, step = run_there(recorder, experiment, users.info.run_id), _next_step(users)
    # For the next one, should the run be resumed by another process.
    run.tags({names.TAG_EVALUATIONS: str(step + 1)})
    return run, step


def _next_step(users: MlflowRun) -> int:
    """How many evaluations a run of the user's has had, in this process and before it was resumed."""
    run_id, before = users.info.run_id, users.data.tags.get(names.TAG_EVALUATIONS, "0")
    step = _evaluations.pop(run_id, int(before) if before.isdecimal() else 0)
    _evaluations[run_id] = step + 1
    if len(_evaluations) > _MOST_RUNS_REMEMBERED:
        _evaluations.popitem(last=False)
    return step


def around_rows() -> Callable[[Callable[[Any], Any], Any], Any] | None:
    """What is put around the rows of a batch that begins here: those of an evaluation are watched."""
    evaluation = handed_down.inherited(EVALUATION)
    return evaluation.rows.around if evaluation is not None else None

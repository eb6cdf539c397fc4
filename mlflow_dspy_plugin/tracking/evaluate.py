"""One evaluation -> the program, its score and a table of results, in a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dspy
import mlflow
from mlflow.entities import RunStatus
from mlflow.tracking import MlflowClient

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.tracking import artifacts
from mlflow_dspy_plugin.tracking.compile import COMPILE_RUN, CompileRun


@dataclass(frozen=True)
class _Evaluation:
    key: str
    step: int
    parent_run: str | None
    started_run: bool


class EvaluationCallback(dspy_seam.Watcher):
    """Records each call of `dspy.Evaluate`.

    Inside a compile it is a nested run, and the score a step of the compile's metric. Outside, it
    is in the active run, or in one of its own.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Evaluation] = {}

    @never_raises
    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        metadata = inputs.get("callback_metadata") or {}
        if metadata.get("disable_logging") or not self.installed:
            return
        key = metadata.get("metric_key", "eval")
        evaluation = _begin(key, handed_down.inherited(COMPILE_RUN))
        self._open[call_id] = evaluation
        if (program := inputs.get("program")) is not None and evaluation.started_run:
            artifacts.log_program(program, "model.json")
            artifacts.log_program_parameters(program)
            artifacts.log_lm()

    @never_raises
    def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        evaluation = self._open.pop(call_id, None)
        if evaluation is None:
            return
        try:
            if exception is None and outputs is not None:
                _log(evaluation, outputs)
        finally:
            if evaluation.started_run:
                failed = exception is not None or outputs is None
                status = RunStatus.FAILED if failed else RunStatus.FINISHED
                mlflow.end_run(RunStatus.to_string(status))


def _begin(key: str, compile_run: CompileRun | None) -> _Evaluation:
    if compile_run is not None:
        step = compile_run.next_step(key)
        mlflow.start_run(run_name=f"{key}_{step}", nested=True, parent_run_id=compile_run.run_id)
        return _Evaluation(key, step, compile_run.run_id, started_run=True)
    started = mlflow.active_run() is None
    if started:
        mlflow.start_run(run_name=key)
    return _Evaluation(key, 0, None, started)


def _log(evaluation: _Evaluation, outputs: Any) -> None:
    score = _score_of(outputs)
    if score is not None:
        mlflow.log_metric("eval", score)
    if score is not None and evaluation.parent_run is not None:
        client = MlflowClient()
        client.log_metric(evaluation.parent_run, evaluation.key, score, step=evaluation.step)
    if isinstance(outputs, dspy.Prediction) and outputs.get("results"):
        artifacts.log_rows([_row(*result) for result in outputs["results"]], "result_table.json")


def _score_of(outputs: Any) -> float | None:
    if isinstance(outputs, tuple):
        outputs = outputs[0]
    return float(outputs) if isinstance(outputs, (float, int, dspy.Prediction)) else None


def _row(example: Mapping[str, Any], prediction: Any, score: Any) -> dict[str, Any]:
    """One line of the table of results, in MLflow's own column names."""
    row: dict[str, Any] = {"score": score}
    row.update({f"example_{name}": value for name, value in example.items()})
    if hasattr(prediction, "items"):
        row.update({f"pred_{name}": value for name, value in prediction.items()})
    return row

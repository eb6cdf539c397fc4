"""One evaluation: its run, its rows, its score."""

from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.metering import Meter, Stopwatch
from mlflow_dspy_plugin.recording.runs import Run
from mlflow_dspy_plugin.tracking import artifacts, datasets
from mlflow_dspy_plugin.tracking.feedback import metric_name
from mlflow_dspy_plugin.tracking.plain_values import as_json, number, text
from mlflow_dspy_plugin.tracking.results import Results
from mlflow_dspy_plugin.tracking.rows import Rows

_WAIT_FOR_RUN_SECONDS = 5.0
FAILED, FINISHED, KILLED = "FAILED", "FINISHED", "KILLED"


class Evaluation:
    """An evaluation that is under way.

    Args:
        program: What is evaluated.
        metric: The metric.
        devset: The examples.
        key: The name of its score in the run of an optimization: `eval`, `eval_full`, `eval_minibatch`.
        run: Where it is written; None where it is only a row of a table.
        step: How many evaluations there were before, in the same run or under the same name.
        beside_optimization: Whether the run holds an optimization, whose metrics are of candidates.

    Attributes:
        scope: Of a candidate, what `Scope.of` says of the examples.
    """

    scope: str | None = None

    def __init__(
        self,
        program: Any,
        metric: Any,
        devset: Any,
        key: str,
        run: Run | None,
        step: int,
        beside_optimization: bool = False,
    ) -> None:
        self.program, self.key, self.run, self.step = program, key, run, step
        self._beside_optimization = beside_optimization
        # What can be read only once is the program's.
        devset = devset if hasattr(type(devset), "__len__") else None
        self.devset_size = len(devset) if devset is not None else 0
        self.metric = metric_name(metric) or "score"
        self.meter, self.watch = Meter(), Stopwatch()
        self.rows = Rows(self.metric, self._run_id, written=run is not None)
        if run is not None and devset is not None:
            run.inputs(datasets.input_of(devset, key), "evaluation")

    def _run_id(self) -> str | None:
        if self.run is None:
            return None
        # MLflow finds the traces of a run by what they say from the beginning.
        return self.run.wait(_WAIT_FOR_RUN_SECONDS) if self.run.recorder.is_quick else self.run.run_id

    def describe(self) -> None:
        """Say what is evaluated, in a run of its own."""
        if self.run is not None and self.run.owned:
            artifacts.write_program(self.run, self.program, names.MODEL_FILE)
            self.run.params({**artifacts.program_parameters(self.program), **artifacts.lm_parameters()})

    def end(self, outputs: Any, exception: BaseException | None) -> tuple[float | None, Results]:
        """Write what came out of it.

        Returns:
            The score, and the rows.
        """
        score = score_of(outputs)
        results = outputs.get("results") if isinstance(outputs, dspy.Prediction) else None
        # An evaluation that was broken off has those rows that had ended.
        rows = self.rows.of(results) if results else self.rows.ended()
        if self.run is not None:
            self._write(score, rows)
            if score is None and exception is None:
                self.run.tags({names.TAG_LEFT_OUT: f"the score, which is no number: {text(outputs)[:200]}"})
            # Those that ended before the run was there.
            self.run.traces(self.rows.unlinked)
            self._finish(outputs, exception)
        return score, rows

    def _write(self, score: float | None, rows: Results) -> None:
        run = self.run
        counts = {names.METRIC_ROWS: len(rows), names.METRIC_FAILURES: rows.failures} if rows else {}
        whole = {} if self._beside_optimization else {names.METRIC_EVAL: score, **figures(self.meter)}
        # The metric last: it may have the name of any of these.
        told = {**counts, **whole, artifacts.safe_name(self.metric) or "score": score}
        # Where several share a run, each has a step and files of its own.
        shared = 0 if run.owned else self.step
        run.metrics({name: value for name, value in told.items() if value is not None}, step=shared)
        if rows:
            run.text(artifacts.table_of_plain(rows.table), _numbered(names.RESULT_TABLE_FILE, shared))
            run.text(as_json(rows.plain), _numbered(names.ROWS_FILE, shared))

    def _finish(self, outputs: Any, exception: BaseException | None) -> None:
        failed = exception is not None or outputs is None
        if exception is not None:
            self.run.tags({names.TAG_ERROR: f"{type(exception).__name__}: {text(exception)}"[:5000]})
        self.run.end(status_of(exception) if failed and exception is not None else FAILED if failed else FINISHED)


def figures(meter: Meter) -> dict[str, float]:
    """What was spent, as metrics of a run."""
    calls = meter.total("calls")
    if not calls:
        return {}
    told = {names.METRIC_LLM_CALLS: calls, names.METRIC_TOKENS: meter.total("total_tokens")}
    cost = meter.total("cost")
    return {**told, names.METRIC_COST: cost} if cost else told


def status_of(exception: BaseException | None) -> str:
    """How a run ended."""
    if exception is None:
        return FINISHED
    return FAILED if isinstance(exception, Exception) else KILLED


def score_of(outputs: Any) -> float | None:
    """The score of what `Evaluate` returned, on any release."""
    if isinstance(outputs, tuple):
        outputs = outputs[0] if outputs else None
    score = outputs.get("score") if isinstance(outputs, dspy.Prediction) else outputs
    return number(score)


def _numbered(file: str, step: int) -> str:
    stem, dot, ending = file.rpartition(".")
    return f"{stem}_{step}{dot}{ending}" if step else file

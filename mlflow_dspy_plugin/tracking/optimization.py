"""One optimization: its record in memory, and its run, which is written while it goes on."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import attempt, never_raises, warn
from mlflow_dspy_plugin.metering import Spending, Stopwatch
from mlflow_dspy_plugin.packaging.save import save_model
from mlflow_dspy_plugin.recording.runs import NoRun, Run
from mlflow_dspy_plugin.seams.optimizers import copy_of
from mlflow_dspy_plugin.tracking import artifacts, datasets
from mlflow_dspy_plugin.tracking.evaluation import Evaluation, figures
from mlflow_dspy_plugin.tracking.plain_values import as_json, plain, text
from mlflow_dspy_plugin.tracking.record import FULL, MINIBATCH, TRAIN, Candidate, Record
from mlflow_dspy_plugin.tracking.report.page import page_of
from mlflow_dspy_plugin.tracking.results import Results, Seen
from mlflow_dspy_plugin.tracking.scope import Scope

# The table and the record are written anew at most this often, and for a small part of the time.
_SECONDS_BETWEEN, _PART_OF_TIME = 1.0, 0.02
# What optimizers of DSPy call an evaluation on a part of the examples.
_MINIBATCH_KEY = "eval_minibatch"
_LONGEST_TAG = 5_000


class Budget:
    """How many runs may be made below one, at all depths. Threads may share it.

    Args:
        runs: How many.
        evaluations: Whether evaluations get some of them, and not only the optimizations inside.
    """

    def __init__(self, runs: int, evaluations: bool = True) -> None:
        self.evaluations = evaluations
        self._left, self._lock = runs, threading.Lock()

    def take(self) -> bool:
        """Take one of the runs, if any is left."""
        with self._lock:
            taken = self._left > 0
            self._left -= taken
            return taken


class Optimization:
    """An optimization that is under way. Threads may share it.

    Args:
        record: What is known of it.
        run: Where it is written.
        budget: How many runs may be made below it.
        outer: The optimization that it is a part of.
    """

    def __init__(self, record: Record, run: Run, budget: Budget, outer: "Optimization | None" = None) -> None:
        self.record, self.run, self.budget, self.outer = record, run, budget, outer
        self._lock = threading.Lock()
        self._steps: dict[str, int] = {}
        self._is_written = not isinstance(run, NoRun)
        self._best_program: Any = None
        # What is being spent on candidates that will be told of by other means than `dspy.Evaluate`.
        self.scoring: list[Spending] = []
        self._scope = Scope(record)
        self._written_at, self._pause = 0.0, _SECONDS_BETWEEN
        self._writing, self._timer, self._has_ended = threading.RLock(), None, False

    # -- the beginning ------------------------------------------------------------------------

    def describe(self, program: Any, lm_parameters: dict[str, str]) -> None:
        """Write what is known before anything is tried."""
        record = self.record
        told = {**record.parameters, "optimizer": record.optimizer, "metric": record.metric}
        plain_ones = {name: value for name, value in told.items() if value is not None}
        self.run.params({**artifacts.parameters(plain_ones), **lm_parameters})
        tags = {names.TAG_OPTIMIZER: record.optimizer, names.TAG_PROGRAM: record.program}
        self.run.tags({name: value for name, value in tags.items() if value})
        if program is not None:
            artifacts.write_program(self.run, program, names.PROGRAM_BEFORE_FILE)

    def describe_examples(self, name: str, examples: Any) -> None:
        """Write a set of examples: as an input of the run, and as a table."""
        if not hasattr(type(examples), "__len__"):
            self.record.leave_out(f"{name}: it can be read only once, and the optimizer has to")
            return
        rows = attempt(lambda: list(examples), lambda error: [])
        if not rows:
            self.record.leave_out(f"{name}: it is empty, or no list of examples")
            return
        dataset = datasets.input_of(rows, name)
        self.record.datasets[name] = {"rows": len(rows), "digest": dataset["digest"]}
        self.run.inputs(dataset, name)
        self.run.text(artifacts.table([_columns(row) for row in rows]), f"{name}.json")

    # -- what is tried ------------------------------------------------------------------------

    def run_inside(self, name: str) -> Run:
        """The run of an optimization inside this one; none where there are enough."""
        if self._is_written and self.budget.take():
            return self.run.child(name, {})
        return NoRun(self.run.recorder, self.run.experiment)

    def begin_evaluation(self, program: Any, metric: Any, devset: Any, key: str) -> Evaluation:
        """An evaluation of a candidate begins."""
        with self._lock:
            step = self._steps[key] = self._steps.get(key, -1) + 1
        wanted = self._is_written and self.budget.evaluations
        run = self.run.child(f"{key}_{step}", {}) if wanted and self.budget.take() else None
        evaluation = Evaluation(program, metric, devset, key, run, step=step)
        evaluation.scope = self._scope.of(devset)
        evaluation.describe()
        if self.record.metric is None and metric is not None:
            # The optimizer keeps it to itself.
            self.record.metric = evaluation.metric
            self.run.params({"metric": evaluation.metric})
        return evaluation

    def end_evaluation(self, evaluation: Evaluation, outputs: Any, exception: BaseException | None) -> None:
        """An evaluation of a candidate has ended."""
        score, rows = evaluation.end(outputs, exception)
        if exception is not None or outputs is None:
            self._failed(evaluation, rows, exception)
            return
        told = self._told(evaluation, score, rows)
        is_part = evaluation.key == _MINIBATCH_KEY
        candidate = self._scope.add(told, evaluation.scope, evaluation.devset_size, is_part)
        points = [(evaluation.key, score, evaluation.step)] if score is not None else []
        self._scored(candidate, evaluation.program, lambda: rows.plain, points)

    def _failed(self, evaluation: Evaluation, rows: Results, exception: BaseException | None) -> None:
        """A candidate has no score, since its evaluation was broken off."""
        why = f"its evaluation raised {type(exception).__name__}: {text(exception)}"[:_LONGEST_TAG]
        self.record.add({**self._told(evaluation, None, rows), "kind": FULL, "why": why})
        self._write_sometimes()

    def _told(self, evaluation: Evaluation, score: float | None, rows: Results) -> dict[str, Any]:
        """A candidate as its evaluation knows it."""
        return {
            "seconds": round(evaluation.watch.seconds, 4),
            "program": self.record.see(evaluation.program),
            "score": score,
            "rows": len(rows) or evaluation.devset_size,
            "failures": rows.failures,
            "usage": evaluation.meter.as_plain(),
            "run": evaluation.run,
        }

    def add_candidate(self, tried: Any, **known: Any) -> Candidate:
        """Note a candidate that was scored by other means than `dspy.Evaluate`."""
        key, results = known.pop("key", None), known.pop("results", None) or []
        self.record.percent &= known.pop("percent", False)
        digest = known.pop("program", None) or self.record.see(tried)
        candidate = self.record.add({"seconds": None, "program": digest, **known}, key)
        self._scored(candidate, tried, lambda: _uncounted(results))
        return candidate

    def _scored(
        self,
        candidate: Candidate,
        program: Any,
        rows: Callable[[], list[dict[str, Any]]],
        points: Sequence[tuple[str, float, int]] = (),
    ) -> None:
        record = self.record
        told = {names.METRIC_SCORE: candidate.score, **figures(record.meter)}
        if record.best is not None:
            told[names.METRIC_BEST_SCORE] = record.best.score
        steps = [(name, value, candidate.number) for name, value in told.items() if value is not None]
        self.run.points([*points, *steps])
        record.offer_rows(candidate, rows)
        if candidate.is_best_so_far and program is not None:
            self._best_program = attempt(lambda: copy_of(program), lambda error: None)
        self._write_sometimes()

    # -- writing ------------------------------------------------------------------------------

    def _write_sometimes(self) -> None:
        """Write the record as soon as that is due: whoever is killed leaves what was known a moment before."""
        with self._lock:
            if not self._is_written or self._timer is not None:
                return
            wait = self._written_at + self._pause - time.monotonic()
            if wait > 0:
                self._timer = threading.Timer(wait, self._write_due)
                self._timer.daemon = True
                self._timer.start()
                return
        self._write_due()

    def _write_due(self) -> None:
        with self._writing:
            self._timer = None
            if self._has_ended:
                return
            watch = Stopwatch()
            self._write()
            self._written_at = time.monotonic()
            # What waits for a store would else fill the disk with what is out of date.
            longer = 0.0 if self.run.recorder.is_quick else 2 * self._pause
            self._pause = max(_SECONDS_BETWEEN, watch.seconds / _PART_OF_TIME, longer)

    @never_raises
    def _write(self) -> None:
        """Write the record and the table of candidates as they are now."""
        told, runs = self.record.as_plain(), self.record.runs()
        self.run.text(as_json(told), names.OPTIMIZATION_FILE, runs)
        lines = [_line(each) for each in told["candidates"]]
        self.run.text(artifacts.table_of_plain(lines), names.CANDIDATES_FILE, runs)

    # -- the end ------------------------------------------------------------------------------

    def end(self, best: Any, status: str, exception: BaseException | None) -> None:
        """The optimization has ended; `best` is what it returned."""
        error = None if exception is None else f"{type(exception).__name__}: {text(exception)}"
        with self._writing:
            # What a timer would write now is out of date; one that waits would keep all of this.
            self._has_ended = True
            if self._timer is not None:
                self._timer.cancel()
        self.record.returned = self.record.see(best)
        try:
            if self._is_written:
                self._conclude(best if best is not None else self._best_program, status, error)
        finally:
            self._best_program = None
            self.run.end(status)

    def _conclude(self, best: Any, status: str, error: str | None) -> None:
        record = self.record
        record.end(status, error)
        self._write_best(best)
        self._summarize()
        told = {names.TAG_ERROR: error, names.TAG_LEFT_OUT: "; ".join(record.left_out)}
        self.run.tags({name: value[:_LONGEST_TAG] for name, value in told.items() if value})
        self._write()
        self._write_report()

    def _summarize(self) -> None:
        record, told = self.record, figures(self.record.meter)
        if record.best is not None and record.baseline is not None:
            told[names.METRIC_BASELINE] = record.baseline
            told[names.METRIC_GAIN] = record.best.score - record.baseline
        if record.best is not None and record.best.score is not None:
            # What stands in the column of the table of runs is the best, not the last.
            told[names.METRIC_EVAL] = record.best.score
        self.run.metrics(told, step=len(record.candidates))

    def _write_best(self, best: Any) -> None:
        if best is None:
            return
        artifacts.write_program(self.run, best, names.BEST_MODEL_FILE)
        if self.outer is None:
            attempt(lambda: self.run.model(_saving(best), names.BEST_MODEL, **self._scored_with()), self._no_model)

    def _scored_with(self) -> dict[str, Any]:
        """What MLflow shows with the model: its score, and the examples that it was scored on."""
        record, chosen = self.record, self.record.chosen
        if chosen is None or chosen.score is None:
            return {}
        metric = names.METRIC_BEST_SCORE if chosen is record.best else names.METRIC_SCORE
        told: dict[str, Any] = {"scores": [(metric, chosen.score, len(record.candidates))]}
        name = "trainset" if chosen.kind == TRAIN or "valset" not in record.datasets else "valset"
        known = record.datasets.get(name)
        if known is not None and chosen.kind != MINIBATCH and chosen.rows == known["rows"]:
            told["dataset"] = {"name": name, "digest": known["digest"]}
        return told

    def _no_model(self, error: BaseException) -> None:
        self.record.leave_out(f"the model of the best program: {text(error)}")
        warn("The best program could not be logged as a model (%s); best_model.json has its state.", text(error))

    @never_raises
    def _write_report(self) -> None:
        self.run.text(page_of(self.record.as_plain()), names.REPORT_FILE)

    def wait(self) -> None:
        """Wait until it is written, as long as that is quick; a part of another one waits with that."""
        if self.outer is None:
            self.run.recorder.settle(self.record.elapsed)


def _uncounted(results: Sequence[tuple[Any, Any, Any]]) -> list[dict[str, Any]]:
    """Rows of which nobody has seen what they took."""
    rows = Results(results, [Seen()] * len(results)).plain
    return [{**row, "seconds": None, "tokens": None} for row in rows]


def _saving(program: Any):
    def save(folder: Path) -> None:
        save_model(program, folder)

    return save


def _columns(example: Any) -> dict[str, Any]:
    told = plain(example)
    return told if isinstance(told, dict) else {"example": told}


def _line(candidate: dict[str, Any]) -> dict[str, Any]:
    """A candidate as a line of the table."""
    spent: dict[str, Any] = dict.fromkeys(("calls", "total_tokens", "cost"))
    if candidate["usage"] is not None:
        spent = {name: sum(each[name] or 0 for each in candidate["usage"].values()) for name in spent}
    told = {name: value for name, value in candidate.items() if name != "usage"}
    return {**told, "llm_calls": spent["calls"], "tokens": spent["total_tokens"], "cost": spent["cost"]}

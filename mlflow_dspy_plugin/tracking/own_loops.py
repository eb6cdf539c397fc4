"""`track_optimization`: a search that the user has written by hand gets the record that an optimizer gets."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import TrackingError
from mlflow_dspy_plugin.seams import active_run
from mlflow_dspy_plugin.seams import handed_down as handed_down_seam
from mlflow_dspy_plugin.tracking import artifacts
from mlflow_dspy_plugin.tracking.compile import MOST_RUNS, OPTIMIZATION, entered, hand_down, run_for
from mlflow_dspy_plugin.tracking.evaluation import score_of, status_of
from mlflow_dspy_plugin.tracking.feedback import metric_name
from mlflow_dspy_plugin.tracking.optimization import Budget, Optimization
from mlflow_dspy_plugin.tracking.record import FULL, MINIBATCH, TRAIN, Record

_KINDS = (FULL, MINIBATCH, TRAIN)


class OwnLoop:
    """A search that is under way: what is tried is told by `log_candidate`, or by `dspy.Evaluate`.

    Attributes:
        best: What the record calls the best program; the best candidate by default.
    """

    def __init__(self, optimization: Optimization) -> None:
        self._optimization = optimization
        self._has_ended = False
        # The candidates that were told by `log_candidate`.
        self._told: set[int] = set()
        self.best: dspy.Module | None = None

    @property
    def run_id(self) -> str | None:
        """The run, once the tracking server has made it."""
        return self._optimization.run.run_id

    def log_candidate(
        self,
        program: dspy.Module,
        score: Any,
        *,
        kind: str = FULL,
        rows: int = 0,
        parents: Sequence[int] = (),
        accepted: bool | None = None,
        why: str | None = None,
    ) -> int:
        """Record a program that was scored.

        A call of `dspy.Evaluate` inside the block records its program by itself: for that one, this
        adds what is said here to the same candidate.

        Args:
            program: The program, as it was scored.
            score: Its score: a number on the scale of `dspy.Evaluate`, which is percent for most metrics, or what
                that returned.
            kind: `"full"`, `"minibatch"` or `"train"`: on what it was scored.
            rows: On how many examples.
            parents: The numbers of the candidates that it was made from.
            accepted: Whether the search goes on with it.
            why: Why it was accepted or rejected, or how it was made.

        Returns:
            Its number, for `parents` of others.

        Raises:
            TrackingError: If the search has ended, the program is none, an argument is not of its type, the kind is
                unknown, or a parent was not recorded.
        """
        if self._has_ended:
            raise TrackingError("log_candidate was called after the search had ended. Call it in the `with` block.")
        record = self._optimization.record
        _check(program, kind, rows, parents, accepted, len(record.candidates))
        status = {None: "scored", True: "accepted", False: "rejected"}[accepted]
        said = {"parents": list(parents), "status": status, "why": why}
        known = record.last_of(record.see(program))
        if known is not None and known.number not in self._told and known.score == score_of(score):
            vars(known).update(said)
            if kind != FULL:
                record.set_kind(known, kind)
        else:
            found = {"kind": kind, "score": score_of(score), "rows": rows, **said}
            known = self._optimization.add_candidate(program, **found)
        self._told.add(known.number)
        return known.number

    def end(self) -> None:
        """Take no more candidates."""
        self._has_ended = True

    def note(self, kind: str, **facts: Any) -> None:
        """Keep what else is worth telling, such as a proposal; it stands in the report in order of time."""
        self._optimization.record.note(kind, facts)


def _check(program: Any, kind: str, rows: Any, parents: Any, accepted: Any, candidates: int) -> None:
    if not isinstance(program, dspy.Module):
        raise TrackingError(
            f"log_candidate got {type(program).__name__} as program. Give the dspy.Module that was scored."
        )
    if kind not in _KINDS:
        raise TrackingError(f"log_candidate got kind={kind!r}. Give one of {', '.join(map(repr, _KINDS))}.")
    if not isinstance(rows, int) or rows < 0:
        raise TrackingError(f"log_candidate got rows={rows!r}. Give the number of examples it was scored on.")
    if accepted not in (None, True, False):
        raise TrackingError(f"log_candidate got accepted={accepted!r}. Give True, False, or None if it is undecided.")
    if not isinstance(parents, (list, tuple, set)):
        raise TrackingError(f"log_candidate got parents={parents!r}. Give a list of numbers of candidates.")
    unknown = [number for number in parents if number not in range(candidates)]
    if unknown:
        raise TrackingError(
            f"log_candidate got parents {unknown}, of which there is no candidate yet. Give numbers that "
            "log_candidate has returned."
        )


@contextlib.contextmanager
def track_optimization(
    name: str,
    *,
    program: dspy.Module | None = None,
    metric: Any = None,
    trainset: Sequence[Any] | None = None,
    valset: Sequence[Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    max_candidate_runs: int = MOST_RUNS,
) -> Iterator[OwnLoop]:
    """Record a hand-written search as `autolog(log_compiles=True)` records an optimizer.

    Each `dspy.Evaluate` in the block, and each `log_candidate`, is a candidate. The run is the active one,
    or one that is made; it has the learning curve, the table of candidates, the report and the best
    program as a model. Nothing waits for the tracking server. Evaluations are seen, and LM calls counted,
    while `mlflow.dspy.autolog(log_compiles=True)` or `log_evals=True` is on; `log_candidate` works without.

    Args:
        name: What the search is called.
        program: The program before.
        metric: The metric; its name is kept.
        trainset: Examples that the search learns from.
        valset: Examples that it is scored on.
        parameters: Its settings.
        max_candidate_runs: How many candidates get a nested run of their own, as in `mlflow.dspy.autolog`.

    Yields:
        What takes the candidates: `log_candidate(program, score)`. Its `run_id` is that of the run.
    """
    outer = handed_down_seam.inherited(OPTIMIZATION)
    record = Record(name, dict(parameters or {}), program, metric_name(metric))
    budget = Budget(max_candidate_runs) if outer is None else outer.budget
    optimization = Optimization(record, run_for(name, outer), budget, outer)
    handed = hand_down(optimization, program)
    run_id = entered(optimization.run, outer)
    optimization.describe(program, artifacts.lm_parameters())
    for which, examples in (("trainset", trainset), ("valset", valset)):
        if examples is not None:
            optimization.describe_examples(which, examples)
    loop, raised = OwnLoop(optimization), None
    try:
        yield loop
    except BaseException as error:
        raised = error
        raise
    finally:
        loop.end()
        handed_down_seam.take_back(handed)
        if run_id is not None:
            active_run.leave_run(run_id)
        optimization.end(loop.best, status_of(raised), raised)
        optimization.wait()
        raised = None

"""Watches the rows of one evaluation while they run."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.holds import HOLD, Assessed
from mlflow_dspy_plugin.metering import METERS, METRIC, ROLE, Meter, Stopwatch
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.tracking.feedback import assessments_of
from mlflow_dspy_plugin.tracking.plain_values import text
from mlflow_dspy_plugin.tracking.results import Results, Seen, content_of, expected_of

# Under this name the batch of an evaluation inherits it; its rows do not.
EVALUATION = "evaluation"


class Rows:
    """Watches the rows of one evaluation. Threads may share it.

    Args:
        metric: The name of the metric.
        run_id: Gives the id of the run that their traces belong to.
        written: Whether all of them will be written.

    Attributes:
        unlinked: The traces that ended before there was one.
    """

    def __init__(self, metric: str, run_id: Callable[[], str | None], written: bool) -> None:
        self._metric, self._run_id, self._written = metric, run_id, written
        self._lock = threading.Lock()
        self.unlinked: list[str] = []
        # Equal examples may be several rows; a slow row may be run twice.
        self._seen: dict[int, deque[Seen]] = defaultdict(deque)

    def around(self, function: Callable[[Any], Any], example: Any) -> Any:
        """Run a row, and see what becomes of it."""
        seen, meter, watch = Seen(), Meter(), Stopwatch()
        hold = Assessed(handed_down.inherited(HOLD))
        handed = handed_down.hand_down(
            **{METERS: (*(handed_down.inherited(METERS) or ()), meter), ROLE: METRIC, HOLD: hold, EVALUATION: None}
        )
        score = raised = None
        seen.example = example
        try:
            returned = function(example)
            seen.prediction, seen.score = _result_in(returned)
            score = seen.score
            return returned
        except BaseException as error:
            raised = error
            raise
        finally:
            handed_down.take_back(handed)
            seen.seconds, seen.trace_id = watch.seconds, hold.trace_id
            seen.tokens, seen.cost = int(meter.total("total_tokens")), meter.total("cost") or None
            self._end(example, seen, raised)
            self._release(hold, example, score, raised)
            raised = None

    @never_raises
    def _end(self, example: Any, seen: Seen, raised: BaseException | None) -> None:
        # As text: its frames would keep the program's data.
        seen.error = None if raised is None else f"{type(raised).__name__}: {text(raised)}"
        if self._written and raised is None:
            # Here other rows wait for their language model; after the last one the next evaluation would.
            seen.content = content_of(example, seen.prediction)
        with self._lock:
            self._seen[id(example)].append(seen)

    @never_raises
    def _release(self, hold: Assessed, example: Any, score: Any, raised: BaseException | None) -> None:
        said, run_id = (), None
        try:
            if hold.trace_id is not None:
                # Asking waits for the run to be there.
                run_id = self._run_id()
                said = assessments_of(self._metric, score, raised, expected_of(example))
        finally:
            trace_id = hold.trace_id
            hold.release(said, run_id)
            if trace_id is not None and run_id is None:
                self.unlinked.append(trace_id)

    def of(self, results: Sequence[tuple[Any, Any, Any]]) -> "Results":
        """What was seen of the rows that `Evaluate` returned; to be asked once."""
        with self._lock:
            waiting = (self._seen.get(id(example)) for example, _, _ in results)
            return Results(results, [each.popleft() if each else Seen() for each in waiting])

    def ended(self) -> "Results":
        """The rows that have ended, in that order, where `Evaluate` returned none."""
        with self._lock:
            seen = [each for rows in self._seen.values() for each in rows]
        return Results([(each.example, each.prediction, each.score) for each in seen], seen)


def _result_in(returned: Any) -> tuple[Any, Any]:
    """The prediction and the score in what a row of `Evaluate` returns."""
    return returned if isinstance(returned, tuple) and len(returned) == 2 else (None, None)

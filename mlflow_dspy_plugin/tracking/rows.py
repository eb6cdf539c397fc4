"""The rows of one evaluation: what each was given, gave, scored and cost."""

import functools
import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.holds import HOLD, Assessed
from mlflow_dspy_plugin.metering import METERS, METRIC, ROLE, Meter, Stopwatch
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams.optimizers import prediction_in
from mlflow_dspy_plugin.tracking.feedback import assessments_of, feedback_of, value_of
from mlflow_dspy_plugin.tracking.plain_values import plain, text

# Under this name the batch of an evaluation inherits it; its rows do not.
EVALUATION = "evaluation"
_ID_CHARACTERS = 16


@dataclass
class _Seen:
    """What was seen of a row while it ran."""

    example: Any = None
    prediction: Any = None
    score: Any = None
    error: str | None = None
    seconds: float = 0.0
    tokens: int = 0
    cost: float | None = None
    trace_id: str | None = None


class Rows:
    """Watches the rows of one evaluation. Threads may share it.

    Args:
        metric: The name of the metric.
        run_id: Gives the id of the run that their traces belong to.

    Attributes:
        unlinked: The traces that ended before there was one.
    """

    def __init__(self, metric: str, run_id: Callable[[], str | None]) -> None:
        self._metric, self._run_id = metric, run_id
        self._lock = threading.Lock()
        self.unlinked: list[str] = []
        # Equal examples may be several rows; a slow row may be run twice.
        self._seen: dict[int, deque[_Seen]] = defaultdict(deque)

    def around(self, function: Callable[[Any], Any], example: Any) -> Any:
        """Run a row, and see what becomes of it."""
        seen, meter, watch = _Seen(), Meter(), Stopwatch()
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
    def _end(self, example: Any, seen: _Seen, raised: BaseException | None) -> None:
        # As text: its frames would keep the program's data.
        seen.error = None if raised is None else f"{type(raised).__name__}: {text(raised)}"
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
            return Results(results, [each.popleft() if each else _Seen() for each in waiting])

    def ended(self) -> "Results":
        """The rows that have ended, in that order, where `Evaluate` returned none."""
        with self._lock:
            seen = [each for rows in self._seen.values() for each in rows]
        return Results([(each.example, each.prediction, each.score) for each in seen], seen)


class Results:
    """The rows of an evaluation that has ended.

    Attributes:
        results: Example, prediction and score of each.
        failures: How many of them raised.
    """

    def __init__(self, results: Sequence[tuple[Any, Any, Any]], seen: Sequence[_Seen]) -> None:
        self.results, self._rows_seen = results, seen
        self.failures = sum(each.error is not None for each in seen)

    def __len__(self) -> int:
        return len(self.results)

    @functools.cached_property
    def plain(self) -> list[dict[str, Any]]:
        """As in the record; of most candidates nobody asks, of the best both the evaluation and the record."""
        return [self._row(*result, seen) for result, seen in zip(self.results, self._rows_seen, strict=True)]

    @staticmethod
    def _row(example: Any, prediction: Any, score: Any, seen: _Seen) -> dict[str, Any]:
        return {
            "id": example_id(example),
            "inputs": plain(inputs_of(example)),
            "expected": plain(expected_of(example)),
            "prediction": plain(_prediction(prediction)),
            "score": value_of(score),
            "feedback": feedback_of(score),
            "error": seen.error,
            "trace_id": seen.trace_id,
            "seconds": round(seen.seconds, 4),
            "tokens": seen.tokens,
            "cost": seen.cost,
        }


def example_id(example: Any) -> str:
    """The same for equal examples, wherever they are."""
    told = json.dumps(plain(example), sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:_ID_CHARACTERS]


def inputs_of(example: Any) -> Mapping[str, Any]:
    """The fields of an example that a program is given."""
    keys = getattr(example, "_input_keys", None)
    items = dict(example.items()) if isinstance(example, (dspy.Example, Mapping)) else {"example": example}
    return {name: value for name, value in items.items() if keys is None or name in keys}


def expected_of(example: Any) -> Mapping[str, Any]:
    """The fields of an example that a program is not given."""
    inputs = inputs_of(example)
    items = dict(example.items()) if isinstance(example, (dspy.Example, Mapping)) else {}
    return {name: value for name, value in items.items() if name not in inputs}


def _prediction(prediction: Any) -> Any:
    prediction = prediction_in(prediction)
    return dict(prediction.items()) if isinstance(prediction, dspy.Example) else prediction


def _result_in(returned: Any) -> tuple[Any, Any]:
    """The prediction and the score in what a row of `Evaluate` returns."""
    return returned if isinstance(returned, tuple) and len(returned) == 2 else (None, None)

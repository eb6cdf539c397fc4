"""Which traces of a compile are worth keeping: those that fail, and those of the best evaluation."""

import threading
from typing import Any

from mlflow_dspy_plugin.delivery.holds import Hold


class Retention:
    """Judges the traces of one compile.

    An optimizer evaluates one candidate after the other; what it calls outside of evaluations, to
    make demos or proposals, belongs to no candidate, and only failures of it are kept.

    Attributes:
        outside: Holds the traces outside of evaluations.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._best: tuple[float, Hold] | None = None
        self.outside = Hold(keeps=False)

    def judge(self, evaluation: Hold, score: float | None) -> None:
        """Keep an evaluation if none was better so far, in place of the best one before."""
        with self._lock:
            worse = evaluation
            if score is not None and (self._best is None or score > self._best[0]):
                worse, self._best = self._best[1] if self._best else None, (score, evaluation)
        if worse is not None:
            worse.drop()

    def finish(self) -> None:
        """Have the best evaluation's traces written."""
        with self._lock:
            best, self._best = self._best, None
        if best is not None:
            best[1].release()


def score_of(outputs: Any) -> float | None:
    """The score of an evaluation, in whatever form the release returns it."""
    if isinstance(outputs, tuple):
        outputs = outputs[0] if outputs else None
    try:
        return float(outputs)
    except (TypeError, ValueError):
        return None

"""Ended traces that wait for a verdict: whether they are worth writing is known only later."""

import threading
from collections.abc import Callable, Sequence

from mlflow.entities import Assessment, Trace

from mlflow_dspy_plugin.delivery.notices import tell
from mlflow_dspy_plugin.seams.ended_traces import Ended

# Under this name code inherits what holds the traces that it begins.
HOLD = "hold"
# What is held is in memory; of more, the first stay.
_MOST_HELD = 2_000

Send = Callable[[Ended], None]


class Hold:
    """Traces that share a verdict. Those that have failed are not held: they are always written.

    Args:
        keeps: Whether others wait for the verdict; they are dropped otherwise.
    """

    def __init__(self, keeps: bool = True) -> None:
        self._lock = threading.Lock()
        self._held: list[tuple[Ended, Send]] = []
        self._verdict: bool | None = None if keeps else False
        self._is_full = False

    def take(self, trace: Ended, send: Send) -> None:
        """Hold a trace, or do with it what the verdict says."""
        with self._lock:
            if not trace.has_failed() and self._verdict is None:
                if len(self._held) < _MOST_HELD:
                    self._held.append((trace, send))
                elif not self._is_full:
                    self._is_full = True
                    tell("More than %s traces of an evaluation wait for its score; the rest are dropped.", _MOST_HELD)
                return
        if trace.has_failed() or self._verdict:
            send(trace)

    def find(self, trace_id: str) -> Trace | None:
        """The trace of this id, if it is among them."""
        with self._lock:
            return _trace_in(self._held, trace_id)

    def release(self) -> None:
        """Have them written, and those that come later."""
        for trace, send in self._judge(True):
            send(trace)

    def drop(self) -> None:
        """Forget them, and those that come later."""
        self._judge(False)

    def _judge(self, verdict: bool) -> list[tuple[Ended, Send]]:
        with self._lock:
            self._verdict, held, self._held = verdict, self._held, []
        return held


class Assessed:
    """Traces that wait for what is said of them, and are then written, or held by another for its verdict.

    Args:
        outer: What would hold them else.
    """

    def __init__(self, outer: "Hold | Assessed | None") -> None:
        self._outer = outer
        self._lock = threading.Lock()
        self._held: list[tuple[Ended, Send]] | None = []

    @property
    def trace_id(self) -> str | None:
        """The id of the first of them."""
        return self._held[0][0].trace_id if self._held else None

    def take(self, trace: Ended, send: Send) -> None:
        """Hold a trace until it is released."""
        with self._lock:
            if self._held is not None:
                self._held.append((trace, send))
                return
        self._pass_on(trace, send)

    def find(self, trace_id: str) -> Trace | None:
        """The trace of this id, if it is among them, or held by the other."""
        with self._lock:
            found = _trace_in(self._held or (), trace_id)
        return found if found is not None or self._outer is None else self._outer.find(trace_id)

    def release(self, assessments: Sequence[Assessment], run_id: str | None) -> None:
        """Say of the first of them what there is to say, and let all go.

        Args:
            assessments: What is said.
            run_id: The run that they belong to.
        """
        with self._lock:
            held, self._held = self._held or [], None
        for number, (trace, send) in enumerate(held):
            trace.assess(assessments if number == 0 else (), run_id)
            self._pass_on(trace, send)

    def _pass_on(self, trace: Ended, send: Send) -> None:
        if self._outer is None:
            send(trace)
        else:
            self._outer.take(trace, send)


def _trace_in(held: Sequence[tuple[Ended, Send]], trace_id: str) -> Trace | None:
    return next((trace.whole() for trace, _ in held if trace.trace_id == trace_id), None)


_holds: dict[str, Hold | Assessed] = {}


def hold(trace_id: str, by: Hold | Assessed) -> None:
    """Have a trace held when it ends."""
    _holds[trace_id] = by


def held_by(trace_id: str) -> Hold | Assessed | None:
    """What holds a trace that has ended, if anything; asked once."""
    return _holds.pop(trace_id, None) if _holds else None

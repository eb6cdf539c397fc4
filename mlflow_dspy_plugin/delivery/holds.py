"""Ended traces that wait for a verdict: whether they are worth writing is known only later."""

import threading
from collections.abc import Callable

from mlflow_dspy_plugin.seams.ended_traces import Ended

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

    def take(self, trace: Ended, send: Send) -> None:
        """Hold a trace, or do with it what the verdict says."""
        with self._lock:
            if not trace.has_failed() and self._verdict is None:
                if len(self._held) < _MOST_HELD:
                    self._held.append((trace, send))
                return
        if trace.has_failed() or self._verdict:
            send(trace)

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


_holds: dict[str, Hold] = {}


def hold(trace_id: str, by: Hold) -> None:
    """Have a trace held when it ends."""
    _holds[trace_id] = by


def held_by(trace_id: str) -> Hold | None:
    """What holds a trace that has ended, if anything; asked once."""
    return _holds.pop(trace_id, None) if _holds else None

"""The thread that takes operations from the journal of one store, and does them there."""

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.limits import Limits
from mlflow_dspy_plugin.delivery.notices import Notices, tell
from mlflow_dspy_plugin.delivery.outage import Outage
from mlflow_dspy_plugin.delivery.spool import Segment, Spool, SpoolFull
from mlflow_dspy_plugin.recording.plan import planned
from mlflow_dspy_plugin.recording.run_store import Operation, RunStore
from mlflow_dspy_plugin.seams.refusals import Kind, Refusal

# Between two turns the thread rests, in which more may come: so many times as long as the last one took, within bounds.
_REST, _REST_SECONDS = 20.0, (0.2, 1.0)
_ORPHANS_SECONDS = 60.0
# Lines that are done before what came meanwhile is looked at.
_MOST_LINES = 500
# How often an operation may break a store that answers.
_ATTEMPTS = 3
# A store that takes an operation in less time is waited for; another one only for a part of the time that passed.
_QUICK, _QUICK_SECONDS_AT_MOST, _PART_OF_TIME = 1.5, 10.0, 0.015
_LOOK_SECONDS = 0.1
# A wait at the end of the program is told from here on.
_TOLD_SECONDS = 1.0
_KEPT = "What is said of runs is kept in %s and sent when it does."
_REASONS = {
    Kind.UNREACHABLE: f"The tracking store %s cannot be reached (%s). {_KEPT}",
    Kind.DENIED: f"The tracking store %s does not accept the credentials (%s). Renew them. {_KEPT}",
    Kind.BROKEN: f"The tracking store %s has failed (%s). {_KEPT}",
    Kind.REJECTED: "The tracking store %s rejects a part of a run, which is left out (%s).%.0s",
}


@dataclass(frozen=True)
class _Batch:
    """Lines that are taken from the journal together, and what is left to do of them."""

    segment: Segment
    lines: list[bytes]
    plan: deque[Operation]
    again: bool


class Recorder:
    """Does operations on runs, in order, and keeps them while the store does not take them.

    Args:
        store: Where they are done.
        journal: Where they wait.
        limits: What may be used.
    """

    def __init__(self, store: RunStore, journal: Spool, limits: Limits) -> None:
        self.store, self._journal, self._limits = store, journal, limits
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._outage = Outage(*self._limits.retry_seconds)
        self._notices = Notices()
        self._thread: threading.Thread | None = None
        self._hurried, self._stopping, self._idle = 0, False, False
        self._rest, _ = _REST_SECONDS
        # When files of processes that died are looked for.
        self._orphans_at = time.monotonic()
        self._batch: _Batch | None = None
        # How long the operation took that was done last, and since when there is one under way.
        self._seconds, self._busy_since = 0.0, None
        # How often the first operation of the batch has broken the store; whether it may have been done all the same.
        self._broken, self._is_doubtful = 0, False

    def forget(self) -> None:
        """Begin anew in a process that was forked: what waits is the parent's to do."""
        self._journal.forget()
        self._begin()

    def put(self, operation: Operation) -> None:
        """Take an operation; it is done later."""
        try:
            self._journal.append(json.dumps(operation).encode())
        except (SpoolFull, OSError) as error:
            self._notices.tell_once("journal", "What is said of runs cannot be kept (%r); it is lost.", error)
            return
        # One that is at work, or rests, looks by itself.
        if self._thread is None or self._idle:
            self.start()

    def start(self) -> None:
        """See that the thread runs."""
        with self._changed:
            if self._thread is None and not self._stopping:
                thread = threading.Thread(target=self._run, name="mlflow-dspy-recorder", daemon=True)
                # Where the interpreter is shutting down.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            self._changed.notify_all()

    @property
    def is_healthy(self) -> bool:
        """Whether the store has taken what it was given last."""
        return self._outage.refusal is None

    @property
    def is_quick(self) -> bool:
        """Whether the store takes what it is given without delay, as far as is known."""
        since = self._busy_since
        return self.is_healthy and max(self._seconds, time.monotonic() - since if since else 0.0) < _QUICK

    def wait_for_run(self, key: str, timeout: float) -> str | None:
        """The id of a run, as soon as it is there; None where that takes longer."""
        self._wait(lambda: self.store.run_id(key) is not None or not self._journal.lines, 0.0, timeout)
        return self.store.run_id(key)

    def settle(self, worked: float) -> None:
        """Wait until what was put so far is done, if that is quick.

        Args:
            worked: How many seconds the work took that is told of. A store that is not quick is waited for during a
                small part of it.
        """
        came = self._journal.came
        self._wait(lambda: self._journal.left >= came, worked * _PART_OF_TIME, _QUICK_SECONDS_AT_MOST)

    def _wait(self, done: Callable[[], bool], slow: float, quick: float) -> None:
        """Wait until it is done: for so many seconds where the store is slow, and so many where it is quick."""
        begin = time.monotonic()
        with self._hurry():
            while not done() and self.is_healthy:
                if time.monotonic() - begin >= (quick if self.is_quick else slow):
                    break
                self._changed.wait(_LOOK_SECONDS)

    def flush(self, timeout: float) -> bool:
        """Wait until what was put so far is done, or the store does not take it.

        Returns:
            Whether it is done.
        """
        came = self._journal.came
        with self._hurry():
            self._changed.wait_for(lambda: self._journal.left >= came or not self.is_healthy, timeout)
        return self._journal.left >= came

    def stop(self, timeout: float) -> None:
        """Do what is left, for a limited time, and leave the rest to the next process."""
        told = min(_TOLD_SECONDS, timeout)
        self._outage.forgive()
        if self._journal.lines and not self.flush(told) and self.is_healthy:
            tell("Sending runs to %s, for up to %s seconds ...", self.store.uri, f"{timeout:.0f}")
            self.flush(timeout - told)
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            thread = self._thread
        if kept := self._journal.lines:
            folder = self._journal.folder
            tell("%s lines on runs are kept in %s until a program next writes to %s.", kept, folder, self.store.uri)
        if thread is not None:
            thread.join(_TOLD_SECONDS)
        self._journal.close()

    @contextlib.contextmanager
    def _hurry(self):
        self.start()
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                yield
            finally:
                self._hurried -= 1

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                begin = time.monotonic()
                self._turn()
                least, most = _REST_SECONDS
                self._rest = min(max(least, _REST * (time.monotonic() - begin)), most)
        finally:
            with self._changed:
                self._thread = None
                self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        """Wait for something to do, and a little more for others like it; False at the end."""
        with self._changed:
            pause = self._outage.seconds_left or max(0.0, self._orphans_at - time.monotonic())
            self._idle = True
            self._changed.wait_for(self._has_work, pause)
            self._idle = False
            self._changed.wait_for(self._is_urgent, self._rest)
            return not self._stopping

    def _has_work(self) -> bool:
        return self._stopping or self._journal.lines > 0 and self._outage.is_due

    def _is_urgent(self) -> bool:
        return bool(self._hurried or self._stopping or self._batch)

    @never_raises
    def _turn(self) -> None:
        if time.monotonic() >= self._orphans_at:
            self._orphans_at = time.monotonic() + _ORPHANS_SECONDS
            self._journal.claim_orphans()
        if not self._journal.lines or not self._answers():
            return
        self._batch = self._batch or self._next_batch()
        if self._batch is not None and self._do_all(self._batch):
            self._journal.advance(self._batch.segment, self._batch.lines)
            self._batch = None
            self._notify()

    def _answers(self) -> bool:
        if self._outage.is_trusted or not self._outage.is_due:
            return self._outage.is_due
        refusal = self.store.probe()
        if refusal is not None:
            self._fails(refusal)
        return refusal is None

    def _next_batch(self) -> _Batch | None:
        segment = self._journal.next_segment()
        if segment is None:
            return None
        lines = segment.read(_MOST_LINES)
        if b"" in lines:
            self._notices.tell_once("deleted", "%s was deleted; what it said of runs is lost.", segment.path)
        # Who died has not noted what it had done.
        again = segment.owner != self._journal.name
        return _Batch(segment, lines, deque(planned(lines, by_the_dead=again)), again=again)

    def _do_all(self, batch: _Batch) -> bool:
        """Do what is left of a batch, until the store does not take it; whether it is done."""
        while batch.plan and not self._stopping and self._do(batch):
            # Somebody may wait for a run that this one has made.
            self._notify()
        return not batch.plan

    def _do(self, batch: _Batch) -> bool:
        """Do the first operation of a batch; whether it is done with."""
        operation = batch.plan[0]
        # A store that has failed on it may have done it before.
        again = batch.again or self._is_doubtful
        self._busy_since = time.monotonic()
        refusal = self.store.do({**operation, "again": again})
        self._seconds, self._busy_since = time.monotonic() - self._busy_since, None
        if refusal is None:
            self._outage.end()
        elif not self._is_given_up(refusal):
            self._fails(refusal)
            self._is_doubtful = True
            return False
        self._broken, self._is_doubtful = 0, False
        batch.plan.popleft()
        if refusal is not None:
            self._give_up(batch, operation, refusal)
        return True

    def _is_given_up(self, refusal: Refusal) -> bool:
        self._broken += refusal.kind is Kind.BROKEN
        return refusal.kind is Kind.REJECTED or self._broken > _ATTEMPTS

    def _give_up(self, batch: _Batch, operation: Operation, refusal: Refusal) -> None:
        """Leave out an operation, or of several that were one only those that are to blame."""
        if operation["do"] == "log":
            batch.plan.extendleft(reversed(operation["parts"]))
        else:
            self._tell(Refusal(Kind.REJECTED, refusal.error), operation["do"])

    def _fails(self, refusal: Refusal) -> None:
        with self._changed:
            self._outage.begin(refusal)
            self._changed.notify_all()
        self._tell(refusal)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _tell(self, refusal: Refusal, *kind: str) -> None:
        values = (self.store.uri, refusal.error, self._journal.folder)
        self._notices.tell_once(" ".join((refusal.kind.value, *kind)), _REASONS[refusal.kind], *values)

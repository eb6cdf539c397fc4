"""The thread that takes operations from the journal of one store, and does them there."""

import contextlib
import json
import threading
import time
from collections.abc import Iterable

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.limits import Limits
from mlflow_dspy_plugin.delivery.notices import Notices, tell
from mlflow_dspy_plugin.delivery.outage import Outage
from mlflow_dspy_plugin.delivery.spool import Spool, SpoolFull
from mlflow_dspy_plugin.recording.run_store import Operation, RunStore
from mlflow_dspy_plugin.seams.refusals import Kind, Refusal

_LINGER_SECONDS = 0.2
_ORPHANS_SECONDS = 60.0
# Operations that are done before what came meanwhile is looked at.
_BATCH = 500
# How often an operation may break a store that answers.
_ATTEMPTS = 3
# A store that takes an operation in less time is waited for; another one only for a part of the time that passed.
_QUICK, _QUICK_SECONDS_AT_MOST, _PART_OF_TIME = 1.5, 10.0, 0.04
# A wait at the end of the program is told from here on.
_TOLD_SECONDS = 1.0
_KEPT = "What is said of runs is kept in %s and sent when it does."
_REASONS = {
    Kind.UNREACHABLE: f"The tracking store %s cannot be reached (%s). {_KEPT}",
    Kind.DENIED: f"The tracking store %s does not accept the credentials (%s). Renew them. {_KEPT}",
    Kind.BROKEN: f"The tracking store %s has failed (%s). {_KEPT}",
    Kind.REJECTED: "The tracking store %s rejects a part of a run, which is left out (%s).%.0s",
}


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
        self._hurried, self._stopping = 0, False
        self._orphans_at = time.monotonic() + _LINGER_SECONDS
        # How long the operation took that was done last.
        self._seconds = 0.0
        # How often the first operation of the journal has broken the store.
        self._broken = 0

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

    def patience(self, seconds: float) -> float:
        """How long somebody may wait for it who has worked for so many seconds."""
        return _QUICK_SECONDS_AT_MOST if self._seconds < _QUICK else seconds * _PART_OF_TIME

    def wait_for_run(self, key: str, timeout: float) -> str | None:
        """The id of a run, as soon as it is there; None where that takes longer."""
        if not self.is_healthy:
            return None
        with self._hurry():
            self._changed.wait_for(lambda: self.store.run_id(key) or not self.is_healthy, timeout)
        return self.store.run_id(key)

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
                self._turn()
        finally:
            with self._changed:
                self._thread = None
                self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        """Wait for something to do, and a little more for others like it; False at the end."""
        with self._changed:
            pause = min(_ORPHANS_SECONDS, self._outage.seconds_left or _ORPHANS_SECONDS)
            self._changed.wait_for(self._has_work, pause)
            self._changed.wait_for(lambda: self._hurried or self._stopping, _LINGER_SECONDS)
            return not self._stopping

    def _has_work(self) -> bool:
        return self._stopping or self._journal.lines > 0 and self._outage.is_due

    @never_raises
    def _turn(self) -> None:
        if time.monotonic() >= self._orphans_at:
            self._orphans_at = time.monotonic() + _ORPHANS_SECONDS
            self._journal.claim_orphans()
        if not self._journal.lines or not self._answers():
            return
        segment = self._journal.next_segment()
        if segment is None:
            return
        own = segment.owner == self._journal.name
        lines = segment.read(_BATCH)
        done = self._do_all(lines, own)
        self._journal.advance(segment, lines[:done])
        with self._changed:
            self._changed.notify_all()

    def _answers(self) -> bool:
        if self._outage.is_trusted or not self._outage.is_due:
            return self._outage.is_due
        refusal = self.store.probe()
        if refusal is not None:
            self._fails(refusal)
        return refusal is None

    def _do_all(self, lines: list[bytes], own: bool) -> int:
        """Do the operations on these lines, until the store does not take one; how many are done."""
        done = 0
        for count, operation in _joined(lines):
            if self._stopping:
                break
            if operation is not None and not self._do({**operation, "again": not own or self._broken > 0}):
                break
            done += count
            with self._changed:
                # Somebody may wait for a run that this one has made.
                self._changed.notify_all()
        return done

    def _do(self, operation: Operation) -> bool:
        """Do an operation; whether it is done with."""
        begin = time.monotonic()
        refusal = self.store.do(operation)
        self._seconds = time.monotonic() - begin
        if refusal is None:
            self._outage.end()
            self._broken = 0
            return True
        if refusal.kind is Kind.BROKEN:
            self._broken += 1
        if refusal.kind is Kind.REJECTED or self._broken > _ATTEMPTS:
            self._broken = 0
            self._tell(Refusal(Kind.REJECTED, refusal.error), operation["do"])
            return True
        self._fails(refusal)
        return False

    def _fails(self, refusal: Refusal) -> None:
        with self._changed:
            self._outage.begin(refusal)
            self._changed.notify_all()
        self._tell(refusal)

    def _tell(self, refusal: Refusal, *kind: str) -> None:
        values = (self.store.uri, refusal.error, self._journal.folder)
        self._notices.tell_once(" ".join((refusal.kind.value, *kind)), _REASONS[refusal.kind], *values)


def _joined(lines: list[bytes]) -> Iterable[tuple[int, Operation | None]]:
    """Operations with the number of lines that each stands for; metrics that follow each other are one.

    A line that is none, as of another release, is None.
    """
    metrics: dict[str, dict] = {}
    count = 0
    for line in lines:
        operation = _parsed(line)
        count += 1
        if operation is not None and operation["do"] == "metrics":
            joined = metrics.setdefault(operation["run"], {**operation, "metrics": []})
            joined["metrics"] += operation["metrics"]
            continue
        # What is noted as done has to be done: those before it first.
        if metrics:
            yield from _ahead(metrics)
        yield count, operation
        count = 0
    if metrics:
        *first, last = metrics.values()
        yield from ((0, each) for each in first)
        yield count, last


def _ahead(metrics: dict[str, dict]) -> Iterable[tuple[int, Operation]]:
    while metrics:
        yield 0, metrics.pop(next(iter(metrics)))


def _parsed(line: bytes) -> Operation | None:
    try:
        operation = json.loads(line)
        return operation if {"do", "run", "experiment"} <= operation.keys() else None
    except (ValueError, AttributeError):
        return None

"""The thread that writes ended traces to one store, and the queue in front of it."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from mlflow.entities import Trace

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.keeper import Keeper
from mlflow_dspy_plugin.delivery.limits import Limits
from mlflow_dspy_plugin.delivery.notices import tell
from mlflow_dspy_plugin.delivery.outage import Outage
from mlflow_dspy_plugin.delivery.report import Report
from mlflow_dspy_plugin.seams.ended_traces import Ended
from mlflow_dspy_plugin.seams.refusals import Kind, Refusal
from mlflow_dspy_plugin.seams.trace_store import TraceStore

# How often files of processes that died are looked for.
_ORPHANS_SECONDS = 60.0
# A wait at the end of the program is told from here on.
_TOLD_SECONDS = 1.0
# How long the end of the program waits for a call that is under way.
_LAST_CALL_SECONDS = 2.0

Complete = Callable[[Trace], None]


class Delivery:
    """Ended traces on their way to one store.

    Args:
        store: Where they are written.
        keeper: Where they are kept while it does not take them.
        limits: What may be used.
        complete: What has yet to be found out of a trace before it is written, in the worker's thread.
    """

    def __init__(self, store: TraceStore, keeper: Keeper, limits: Limits, complete: Sequence[Complete] = ()) -> None:
        self._store, self._keeper, self.limits, self._complete = store, keeper, limits, complete
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Ended, int]] = deque()
        self._characters = 0
        self._writing: list[Ended] = []
        # How many traces have come into memory, and how many have left the hands of the thread.
        self._came = self._left = 0
        self._errands: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._hurried = 0
        self._stopping = self._closed = False
        self._outage = Outage(*self.limits.retry_seconds)
        self._orphans_at = 0.0
        self._written, self._cpu, self._seconds = 0, 0.0, 0.0

    def forget(self) -> None:
        """Begin anew in a process that was forked: what waits is the parent's to write."""
        self._keeper.spool.forget()
        self._begin()

    def start(self) -> bool:
        """See that the thread runs; False where none can be started, as at the end of a program."""
        with self._changed:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="mlflow-dspy-delivery", daemon=True)
                # Where the interpreter is shutting down.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread
            return self._thread is not None

    def put(self, trace: Ended) -> None:
        """Take a trace; it is written later."""
        size = trace.size()
        with self._changed:
            if self._thread is None:
                self.start()
            if self._thread is not None and not (self._closed or self._is_full(size)):
                self._waiting.append((trace, size))
                self._characters += size
                self._came += 1
                if len(self._waiting) in (1, self.limits.batch_traces):
                    self._changed.notify_all()
                return
        # The thread is behind. A line in a file is quick, and holds back those who are too fast.
        self._finish([trace])
        self._keep([trace])

    def write_now(self, trace: Ended) -> None:
        """Write a trace before the program goes on."""
        self._finish([trace])
        self._keep(self._try([trace]) if self._store_answers() else [trace])

    def send(self, errand: Callable[[], None]) -> None:
        """Have the thread do something beside, that may take its time."""
        with self._changed:
            self._errands.append(errand)
            self._changed.notify_all()

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the traces so far are written, or are kept because the store does not take them.

        Returns:
            Whether that was within the time.
        """
        if threading.current_thread() is self._thread:
            return False
        with self._changed:
            self._outage.forgive()
            self._hurried += 1
            self._changed.notify_all()
            try:
                # Under load there would always be another one.
                came, kept = self._came, self._keeper.spool.came
                return self.start() and self._changed.wait_for(lambda: self._is_done(came, kept), timeout)
            finally:
                self._hurried -= 1

    def stop(self, timeout: float) -> None:
        """Write what is left, for a limited time, keep what then remains, and end."""
        if self._closed:
            return
        told = min(_TOLD_SECONDS, timeout)
        if not self.flush(told):
            tell("Sending traces to %s, for up to %s seconds ...", self._store.uri, f"{timeout:.0f}")
            self.flush(timeout - told)
        with self._changed:
            self._closed = self._stopping = True
            left = [*self._writing, *(trace for trace, _ in self._waiting)]
            self._waiting.clear()
            self._changed.notify_all()
            thread = self._thread
        self._keep(left)
        if kept := self._keeper.spool.lines:
            tell("%s traces are kept in %s until a program next traces to %s.", kept, self._folder, self._store.uri)
        self._keeper.spool.close()
        if thread is not None and thread is not threading.current_thread():
            # One that is cut off while it imports leaves a lock behind, for which the end of Python may wait.
            thread.join(_LAST_CALL_SECONDS)

    def report(self) -> Report:
        """What has become of the traces."""
        spool = self._keeper.spool
        with self._changed:
            waiting = len(self._waiting) + len(self._writing)
            counts = self._written, waiting, spool.lines, self._keeper.dropped, spool.size()
            return Report(*counts, self._cpu, self._seconds)

    @property
    def _folder(self) -> object:
        return self._keeper.spool.folder

    def _is_full(self, size: int) -> bool:
        count = len(self._waiting)
        limits = self.limits
        return count >= limits.waiting_traces or (count > 0 and self._characters + size > limits.waiting_characters)

    def _is_done(self, came: int, kept: int) -> bool:
        """Whether the first traces in memory and on disk are written, or kept because the store does not take them."""
        if self._thread is None:
            return True
        spool = self._keeper.spool
        sent = self._outage.refusal is not None or spool.left >= kept or not spool.lines
        return self._left >= came and not self._errands and sent

    def _has_work(self) -> bool:
        spooled = self._keeper.spool.lines > 0 and self._outage.is_due
        return bool(self._stopping or self._waiting or self._errands or spooled)

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                cpu, begin = time.thread_time(), time.monotonic()
                self._turn()
                spent = time.thread_time() - cpu
                self._cpu += spent
                self._seconds += time.monotonic() - begin
                self._rest(spent)
        finally:
            with self._changed:
                self._thread = None
                self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        """Wait for something to do, and a little more for others like it; False at the end."""
        with self._changed:
            pause = min(_ORPHANS_SECONDS, self._outage.seconds_left or _ORPHANS_SECONDS)
            self._changed.wait_for(self._has_work, pause)
            self._changed.wait_for(self._is_urgent, self.limits.linger_seconds)
            return not self._stopping

    def _is_urgent(self) -> bool:
        few = 0 < len(self._waiting) < self.limits.batch_traces
        return bool(self._hurried or self._stopping or self._errands or not few)

    def _rest(self, spent: float) -> None:
        """Leave the interpreter to others for a time, after so many seconds of it; the less, the more waits."""
        share = max(self.limits.work_share, len(self._waiting) / self.limits.waiting_traces)
        seconds = spent * max(0.0, 1 / share - 1)
        with self._changed:
            self._changed.wait_for(lambda: self._hurried or self._stopping or self._errands, seconds)

    @never_raises
    def _turn(self) -> None:
        """Do what there is to do now: errands, then what is in memory, then what is on disk."""
        try:
            self._do_errands()
            self._claim_orphans()
            if not (self._waiting or self._keeper.spool.lines):
                return
            if not self._store_answers():
                self._keep_waiting()
                return
            if batch := self._take(self.limits.batch_traces):
                self._finish(batch)
                left = self._try(batch)
                # What was in hand when the end came is kept already.
                self._keep(() if self._closed else left)
            if self._outage.is_due and (self._hurried or len(self._waiting) < self.limits.batch_traces):
                self._write_spooled()
        finally:
            self._hold([])

    def _do_errands(self) -> None:
        while self._errands:
            try:
                self._errands[0]()
            finally:
                self._errands.popleft()

    def _claim_orphans(self) -> None:
        if time.monotonic() >= self._orphans_at:
            self._orphans_at = time.monotonic() + _ORPHANS_SECONDS
            self._keeper.spool.claim_orphans()

    def _store_answers(self) -> bool:
        """Whether the store takes traces now, as far as one can know without trying."""
        if self._outage.is_trusted or not self._outage.is_due:
            return self._outage.is_due
        refusal = self._store.probe()
        if refusal is not None:
            self._outage.begin(refusal)
            self._keeper.tell(refusal)
        return refusal is None

    def _keep_waiting(self) -> None:
        """Put on disk what is in memory: it survives the process there."""
        while batch := self._take(self.limits.batch_traces):
            self._finish(batch)
            self._keep(batch)

    def _keep(self, traces: Sequence[Ended]) -> None:
        """Put traces on disk, and see that they are sent."""
        for trace in traces:
            self._keeper.keep(trace)
        if traces:
            self.start()
            with self._changed:
                self._changed.notify_all()

    def _take(self, count: int) -> list[Ended]:
        """Take the oldest traces out of the queue, into the hands of the thread."""
        with self._changed:
            taken = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
            self._characters -= sum(size for _, size in taken)
            return self._hold([trace for trace, _ in taken])

    def _hold(self, traces: list[Ended]) -> list[Ended]:
        """Have these traces in hand, and no longer those before."""
        with self._changed:
            self._left += len(self._writing)
            self._writing = traces
            self._changed.notify_all()
        return traces

    def _write_spooled(self) -> None:
        """Write one batch of what is on disk."""
        segment = self._keeper.spool.next_segment()
        if segment is None:
            return
        lines, traces = self._keeper.read(segment, self.limits.batch_traces)
        left = self._try(traces)
        if left and len(left) == len(traces):
            # Nothing is gained by writing all of it anew.
            return
        self._keep(left)
        self._keeper.spool.advance(segment, lines)

    def _try(self, batch: Sequence[Ended]) -> list[Ended]:
        """Write traces to the store; those that have to be kept."""
        refused = self._refused(batch)
        with self._changed:
            self._written += len(batch) - len(refused)
        left = [trace for trace, refusal in refused if not self._keeper.is_hopeless(trace, refusal, self._written)]
        outage = next((each for _, each in refused if each.kind.is_of_the_store), None)
        if outage is None and refused and len(left) == len(batch):
            outage = refused[0][1]
        if outage is not None:
            self._outage.begin(outage)
            # A store may answer long after nobody waits for it.
            if not self._closed:
                self._keeper.tell(outage)
        elif len(refused) < len(batch):
            self._outage.end()
        return left

    def _refused(self, batch: Sequence[Ended]) -> list[tuple[Ended, Refusal]]:
        """Write traces to the store; those that are not there then."""
        refused = []
        for trace, refusal in zip(batch, self._store.write(batch), strict=True):
            if refusal is not None and refusal.kind is Kind.INCOMPLETE:
                self._keeper.tell(refusal)
            elif refusal is not None:
                refused.append((trace, refusal))
        return refused

    def _finish(self, batch: Sequence[Ended]) -> None:
        for trace in batch:
            for complete in self._complete:
                never_raises(complete)(trace.whole())

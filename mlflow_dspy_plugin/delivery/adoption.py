"""Delivery switched on and off: MLflow's span processors adopted and given back, and the end of the process."""

import atexit
import multiprocessing.util
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.exporter import Exporter
from mlflow_dspy_plugin.delivery.keeper import Keeper
from mlflow_dspy_plugin.delivery.limits import Limits, spool_folder
from mlflow_dspy_plugin.delivery.report import Report
from mlflow_dspy_plugin.delivery.spool import Spool
from mlflow_dspy_plugin.delivery.worker import Complete, Delivery
from mlflow_dspy_plugin.seams import mlflow_export
from mlflow_dspy_plugin.seams.refusals import requests_at_once
from mlflow_dspy_plugin.seams.trace_store import TraceStore

# Small batches: whoever waits for the interpreter waits for one.
_STANDING_BACK = {"work_share": 0.2, "batch_traces": 8, "waiting_traces": 2_000}


class _Adoption:
    """What is adopted while delivery is installed."""

    def __init__(self, limits: Limits, complete: Sequence[Complete]) -> None:
        self._limits, self._complete = limits, complete
        self._lock = threading.RLock()
        # What `providers` said when all was adopted.
        self._seen: Any = None
        self._processors: weakref.WeakSet[Any] = weakref.WeakSet()
        self._deliveries: dict[str, Delivery] = {}
        # Before the first trace begins, MLflow would ask the store where it belongs. What it puts back without making
        # it anew is adopted once a trace is under way.
        self._undos = [requests_at_once(), mlflow_export.after_making(adopt)]
        self._reads_wait = False

    def adopt(self) -> None:
        """Adopt what MLflow traces by now; next to nothing where that is adopted."""
        current = mlflow_export.providers()
        if current == self._seen:
            return
        with self._lock:
            found = mlflow_export.processors()
            for processor in found:
                if not isinstance(processor.span_exporter, Exporter):
                    self._take_over(processor)
            # Where tracing has not begun, MLflow may yet add a processor to the same provider.
            self._seen = current if found else None

    def _take_over(self, processor: Any) -> None:
        theirs = processor.span_exporter
        exporter = Exporter(theirs, self._delivery_by(mlflow_export.client_of(theirs)))
        retire = mlflow_export.replace_exporter(processor, exporter)
        self._processors.add(processor)
        for root in mlflow_export.take_deferred(theirs):
            exporter.defer(root)
        if not exporter.waits:
            exporter.delivery.send(never_raises(retire))
            if not self._reads_wait:
                self._reads_wait = True
                self._undos.append(mlflow_export.before_reads(self._flush_one))

    def _delivery_by(self, client: Any) -> Delivery:
        """The delivery to the store of a client."""
        uri = client.tracking_uri
        if uri not in self._deliveries:
            spool = Spool(spool_folder(uri), self._limits.spool_bytes, self._limits.segment_bytes)
            store = TraceStore(client)
            self._deliveries[uri] = Delivery(store, Keeper(uri, spool), self._limits, self._complete)
        return self._deliveries[uri]

    def _flush_one(self, uri: str) -> None:
        if (delivery := self._deliveries.get(uri)) is not None:
            delivery.flush(self._limits.exit_seconds)

    def flush(self, timeout: float | None = None) -> bool:
        """Flush each delivery."""
        done = [delivery.flush(timeout) for delivery in list(self._deliveries.values())]
        return all(done)

    def report(self) -> Report:
        """The figures of all."""
        return sum((delivery.report() for delivery in list(self._deliveries.values())), Report())

    def limit(self, **changes: Any) -> None:
        """Change what all may use."""
        self._limits = replace(self._limits, **changes)
        for delivery in self._deliveries.values():
            delivery.limits = self._limits

    def forget(self) -> None:
        """Begin anew in a process that was forked."""
        self._lock = threading.RLock()
        for processor in list(self._processors):
            processor.span_exporter.forget()
        for delivery in self._deliveries.values():
            delivery.forget()

    def stop(self) -> None:
        """Write or keep what is left, within the time that is set."""
        for processor in list(self._processors):
            processor.span_exporter.shutdown()
        self._stop_deliveries()

    def _stop_deliveries(self) -> None:
        deadline = time.monotonic() + self._limits.exit_seconds
        for delivery in self._deliveries.values():
            delivery.stop(max(0.0, deadline - time.monotonic()))

    def undo(self) -> None:
        """Give MLflow's processors their own exporters back, and stop."""
        with self._lock:
            exporters = [processor.span_exporter for processor in self._processors]
            for processor in list(self._processors):
                mlflow_export.restore_exporter(processor, processor.span_exporter.theirs)
        for exporter in exporters:
            exporter.shutdown()
        for processor in mlflow_export.processors():
            never_raises(mlflow_export.export_running)(processor.span_exporter)
        self._stop_deliveries()
        while self._undos:
            self._undos.pop()()


_installed: list[_Adoption] = []


def install_delivery(complete: Sequence[Complete] = ()) -> Callable[[], None]:
    """Have traces written in their own time, and kept while the store does not take them.

    Args:
        complete: Called with each trace before it is written, in the thread that does so.

    Returns:
        Undoes it, after what has ended so far is written.
    """
    adoption = _Adoption(Limits.from_environment(), complete)
    _installed.append(adoption)
    _register_exit()
    adopt()

    def undo() -> None:
        _installed.remove(adoption)
        adoption.undo()

    return undo


@never_raises
def write_last() -> None:
    """Write what is left for a limited time, and keep on disk what then remains: the process is about to end."""
    for adoption in _installed:
        adoption.stop()


def stand_back() -> None:
    """From now on, write traces in a fraction of the time: others answer requests on the same interpreter.

    What comes faster waits, in memory up to a size, and then on disk.
    """
    for adoption in _installed:
        adoption.limit(**_STANDING_BACK)


@never_raises
def adopt() -> None:
    """See that the traces that begin now are delivered; to be called once tracing has begun, and often."""
    if _installed:
        _installed[-1].adopt()


def flush(timeout: float | None = None) -> bool:
    """Wait until the traces that have ended are written, or kept because the store does not take them."""
    done = [adoption.flush(timeout) for adoption in _installed]
    return all(done)


def report() -> Report:
    """What has become of the traces of this process, and what it has cost."""
    return sum((adoption.report() for adoption in _installed), Report())


@never_raises
def _after_fork() -> None:
    for adoption in _installed:
        adoption.forget()


def _register_exit(*_: object) -> None:
    # A process that multiprocessing has forked ends without `atexit`.
    multiprocessing.util.Finalize(None, write_last, exitpriority=1)


atexit.register(write_last)
multiprocessing.util.register_after_fork(write_last, _register_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

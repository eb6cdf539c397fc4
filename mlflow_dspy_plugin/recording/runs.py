"""A run that is written in its own time, and the recorders of this process."""

import atexit
import hashlib
import multiprocessing.util
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.limits import Limits, spool_folder
from mlflow_dspy_plugin.delivery.spool import Spool
from mlflow_dspy_plugin.recording.recorder import Recorder
from mlflow_dspy_plugin.recording.run_store import RunStore, existing
from mlflow_dspy_plugin.seams.refusals import requests_at_once

_FOLDER = "runs-"
_MODELS = "models-"


class Run:
    """A run, made or there before; each method returns at once.

    Args:
        recorder: What writes it.
        experiment: The id of its experiment.
        key: See `run_store`.

    Attributes:
        owned: Whether it was made here, and is ended here.
    """

    def __init__(self, recorder: Recorder, experiment: str, key: str, owned: bool) -> None:
        self.recorder, self.experiment, self.key, self.owned = recorder, experiment, key, owned
        self._known: str | None = None

    @property
    def run_id(self) -> str | None:
        """Its id, once it was made."""
        self._known = self._known or self.recorder.store.run_id(self.key)
        return self._known

    @property
    def reference(self) -> str:
        """Its id, or until it was made its key, for which the id stands in a text that is written."""
        return self.run_id or self.key

    def wait(self, timeout: float) -> str | None:
        """Its id, after waiting for it."""
        self._known = self.run_id or self.recorder.wait_for_run(self.key, timeout)
        return self._known

    def child(self, name: str, tags: Mapping[str, str]) -> "Run":
        """Make a run below it."""
        return begin_run(self.recorder, self.experiment, name, tags, parent=self.key)

    def params(self, params: Mapping[str, str]) -> None:
        """Log parameters; one that it has keeps its value."""
        if params:
            self._put("params", params=dict(params))

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log metrics as of now."""
        self.points([(name, value, step) for name, value in metrics.items()])

    def points(self, points: Sequence[tuple[str, float, int]]) -> None:
        """Log metrics as of now, each at a step of its own."""
        now = int(time.time() * 1000)
        if points:
            self._put("metrics", metrics=[[name, value, now, step] for name, value, step in points])

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        if tags:
            self._put("tags", tags=dict(tags))

    def inputs(self, dataset: Mapping[str, str], context: str) -> None:
        """Log a dataset as an input; its keys are the fields of MLflow's `Dataset`."""
        self._put("inputs", dataset=dict(dataset), context=context)

    def text(self, text: str, file: str, named: Iterable["Run"] = ()) -> None:
        """Log a text as an artifact.

        Args:
            text: The text.
            file: The path of the artifact.
            named: Runs that it names by their `reference`.
        """
        keys = [run.key for run in named if run.run_id is None]
        self._put("text", text=text, file=file, named=keys)

    def model(
        self,
        save: Callable[[Path], None],
        name: str,
        step: int = 0,
        scores: Sequence[tuple[str, float, int]] = (),
        dataset: Mapping[str, str] | None = None,
    ) -> None:
        """Log a model.

        Args:
            save: Writes it into a folder, now.
            name: Its name.
            step: Where in the run it belongs.
            scores: Its metrics, each at a step of its own; they are the run's too.
            dataset: Name and digest of what it was scored on, an input of the run.
        """
        folder = _models_folder(self.recorder.store.uri) / uuid.uuid4().hex
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        save(folder)
        now = int(time.time() * 1000)
        metrics = [[metric, value, now, at] for metric, value, at in scores]
        self._put("model", folder=str(folder), name=name, step=step, metrics=metrics, dataset=dict(dataset or {}))

    def traces(self, trace_ids: Sequence[str]) -> None:
        """Link traces to it."""
        if trace_ids:
            self._put("traces", traces=list(trace_ids))

    def end(self, status: str) -> None:
        """End it, if it was made here."""
        if self.owned:
            self._put("end", status=status, at=time.time())

    def _put(self, do: str, **values: Any) -> None:
        self.recorder.put({"do": do, "run": self.key, "experiment": self.experiment, **values})


class NoRun(Run):
    """In the place of a run where none is wanted: what is said of it is said to nobody."""

    def __init__(self, recorder: Recorder, experiment: str) -> None:
        super().__init__(recorder, experiment, "", owned=False)

    @property
    def run_id(self) -> None:
        """It has none."""
        return None

    def wait(self, timeout: float) -> None:
        """There is nothing to wait for."""

    def child(self, name: str, tags: Mapping[str, str]) -> "NoRun":
        """There is none below it."""
        return self

    def model(self, save: Callable[[Path], None], name: str, step: int = 0) -> None:
        """Nothing is saved."""

    def _put(self, do: str, **values: Any) -> None:
        pass


def begin_run(
    recorder: Recorder, experiment: str, name: str, tags: Mapping[str, str], parent: str | None = None
) -> Run:
    """Make a run.

    Args:
        recorder: What writes it.
        experiment: The id of its experiment.
        name: Its name.
        tags: Its tags.
        parent: The key of the run that it is below.
    """
    run = Run(recorder, experiment, uuid.uuid4().hex, owned=True)
    recorder.put(
        {
            "do": "begin",
            "run": run.key,
            "experiment": experiment,
            "name": name,
            "tags": dict(tags),
            "parent": parent,
            "at": time.time(),
        }
    )
    return run


def run_there(recorder: Recorder, experiment: str, run_id: str) -> Run:
    """A run that somebody else has made, and ends."""
    return Run(recorder, experiment, existing(run_id), owned=False)


# -- recorders --------------------------------------------------------------------------------

_lock = threading.Lock()
_recorders: dict[str, Recorder] = {}


def recorder_for(uri: str) -> Recorder:
    """The recorder of a tracking store."""
    with _lock:
        if uri not in _recorders:
            limits = Limits.from_environment()
            journal = Spool(_beside_spool(uri, _FOLDER), limits.spool_bytes, limits.segment_bytes)
            _recorders[uri] = Recorder(RunStore(uri), journal, limits)
        return _recorders[uri]


def install_recording(uri: str) -> Callable[[], None]:
    """Begin with what a process that died has left for a store; returns what ends it, after all is written."""
    undo = requests_at_once()
    recorder = recorder_for(uri)
    if any(_beside_spool(uri, _FOLDER).glob("*")):
        recorder.start()

    def stop() -> None:
        flush(Limits.from_environment().exit_seconds)
        undo()

    return stop


def flush(timeout: float) -> bool:
    """Wait until what was said of runs is written, or the stores do not take it."""
    done = [recorder.flush(timeout) for recorder in list(_recorders.values())]
    return all(done)


def _beside_spool(uri: str, prefix: str) -> Path:
    spool = spool_folder(uri)
    return spool.with_name(prefix + hashlib.sha256(spool.name.encode()).hexdigest()[:16])


def _models_folder(uri: str) -> Path:
    return _beside_spool(uri, _MODELS)


@never_raises
def _at_exit() -> None:
    deadline = time.monotonic() + Limits.from_environment().exit_seconds
    for recorder in list(_recorders.values()):
        recorder.stop(max(0.0, deadline - time.monotonic()))


@never_raises
def _after_fork() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.Lock()
    for recorder in _recorders.values():
        recorder.forget()


def _register_exit(_: object) -> None:
    # A process that multiprocessing has forked ends without `atexit`.
    multiprocessing.util.Finalize(None, _at_exit, exitpriority=1)


atexit.register(_at_exit)
multiprocessing.util.register_after_fork(_at_exit, _register_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

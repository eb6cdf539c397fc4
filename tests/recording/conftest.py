"""A recorder with a journal of the test's own, and a tracking server that fails as it is told to."""

import threading
from collections.abc import Callable, Iterator

import pytest

from mlflow_dspy_plugin.delivery.limits import Limits
from mlflow_dspy_plugin.delivery.spool import Spool
from mlflow_dspy_plugin.names import TAG_RUN_KEY
from mlflow_dspy_plugin.recording.recorder import Recorder
from mlflow_dspy_plugin.recording.run_store import RunStore
from mlflow_dspy_plugin.recording.runs import Run, begin_run
from mlflow_dspy_plugin.seams.refusals import requests_at_once
from tests.fakes.tracking_server import TrackingServer, tracking_server
from tests.tracing.logs import warnings_logged

EXPERIMENT = "1"
SECONDS = 60
_WHOSE = (TAG_RUN_KEY, "mlflow.parentRunId", "mlflow.runName")


@pytest.fixture
def server(tmp_path) -> Iterator[TrackingServer]:
    """A tracking server that refuses as it is told to."""
    with tracking_server(tmp_path / "artifacts") as running:
        yield running


@pytest.fixture
def make(tmp_path, server) -> Iterator[Callable[..., Recorder]]:
    """Makes a recorder as a process would; all that are left are stopped."""
    made = []
    undo = requests_at_once()

    def make_(uri: str = server.uri, **limits: object) -> Recorder:
        limits = Limits(**{"retry_seconds": (0.02, 0.1), **limits})
        journal = Spool(tmp_path / "journal", limits.spool_bytes, limits.segment_bytes)
        made.append(Recorder(RunStore(uri), journal, limits))
        return made[-1]

    yield make_
    server.answering.set()
    for recorder in made:
        recorder.stop(0)
    undo()


@pytest.fixture
def recorder(make) -> Recorder:
    """One that writes to the server."""
    return make()


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The warnings of the test so far."""
    with warnings_logged() as messages:
        yield messages


def begin(recorder: Recorder, name: str = "top", **tags: str) -> Run:
    """Begin a run."""
    return begin_run(recorder, EXPERIMENT, name, tags)


def facts(run: dict, kind: str) -> dict[str, object]:
    """The params, metrics or tags of a run of the server, but for what says whose it is."""
    return {each["key"]: each["value"] for each in run["data"][kind] if each["key"] not in _WHOSE}


def wait_for(ready: Callable[[], object]) -> None:
    """Poll until it is so."""
    ended = threading.Event()
    for _ in range(SECONDS * 20):
        if ready():
            return
        ended.wait(0.05)
    raise AssertionError("that has not come to pass")


def arrive(recorder: Recorder) -> None:
    """Wait until all that was put is done, whatever comes between."""
    wait_for(lambda: recorder.flush(1))

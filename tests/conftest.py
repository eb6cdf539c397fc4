"""What every test starts from: no network, no cache, a store of its own, nothing switched on."""

import os

# Read when these packages are imported. Without them litellm and MLflow wait for the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# MLflow's and our own instrumentation raise their faults instead of logging them.
os.environ["MLFLOW_AUTOLOGGING_TESTING"] = "true"
os.environ["NO_PROXY"] = "127.0.0.1"
os.environ["OPENAI_API_KEY"] = "key-of-the-tests-0"

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.seams.mlflow import flush_traces

_STATUS = pytest.StashKey[int]()
dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables and one experiment in them; making it takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        # A store makes a folder for artifacts where it is opened first.
        patch.chdir(folder)
        _make_store(folder)
    return folder / "mlflow.db"


def _make_store(folder: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    # Not the default one: its artifacts would be below the folder that the tests run in.
    client.create_experiment("tests", artifact_location=(folder / "artifacts").as_uri())


def _empty(path: Path, empty_store: Path) -> None:
    """Make a store as it was, whoever has it open, and take away its artifacts."""
    with closing(sqlite3.connect(empty_store)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    shutil.rmtree(path.parent / "artifacts", ignore_errors=True)


@pytest.fixture(autouse=True)
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty tracking store and a working folder for one test, and defaults everywhere after it."""
    # One path for all tests: MLflow opens a store once, and opening it takes most of the time of a short test.
    path = empty_store.with_name("store.db")
    _empty(path, empty_store)
    monkeypatch.setenv("MLFLOW_DSPY_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    # Nothing is on its way to the store when the next test begins, and waiting for MLflow's queue takes long.
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    # What `mlflow.set_experiment("tests")` would set, without opening the store for it.
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", "1")
    # dspy 3.0 appends to the list of callbacks when it streams.
    settings = {**dspy.settings.config, "callbacks": list(dspy.settings.callbacks)}
    yield path
    mlflow.dspy.autolog(disable=True)
    while mlflow.active_run() is not None:
        mlflow.end_run()
    dspy.configure(**settings)
    # Loading a model makes it the active one, to which MLflow links what is logged later.
    mlflow.clear_active_model()


@pytest.fixture
def traces():
    """Reads the traces of the test's experiment, once all of them are stored."""

    def read() -> list[mlflow.entities.Trace]:
        flush_traces()
        return mlflow.search_traces(return_type="list")

    return read


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End at once, with all said.

    Libraries leave threads that wait for servers which a test has ended; LiteLLM's destructors import while
    Python ends, and wait for ever for a lock that such a thread has held.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if _STATUS in config.stash:
        os._exit(config.stash[_STATUS])

"""The processes that the tests talk to: an MLflow server, a language model, programs, served models."""

import os

# Read when these packages are imported, here and in every process that the tests start: without
# them litellm and MLflow wait for the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["NO_PROXY"] = "127.0.0.1"

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

from integration import postgresql
from integration.browser import Browser, browsing, installed
from integration.processes import PYTHON, answers, free_port, run, running

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "programs"
REUTERS_R8 = ROOT.parent / "shared" / "data" / "reuters-r8"
# A key that looks like one, so that it is found wherever it leaks.
CANARY_KEY = "sk-integration-canary-4f1d8c2b7a"


@dataclass(frozen=True)
class TrackingServer:
    """An `mlflow server`.

    Attributes:
        uri: Its tracking URI.
        folder: What it stores: the artifacts, and its database where that is SQLite.
    """

    uri: str
    folder: Path

    @property
    def client(self) -> mlflow.MlflowClient:
        """A client of it."""
        return mlflow.MlflowClient(self.uri)

    def files_holding(self, text: str) -> list[str]:
        """The names of the stored files, the database among them, that hold a text."""
        stored = (path for path in self.folder.rglob("*") if path.is_file())
        return [path.name for path in stored if text.encode() in path.read_bytes()]

    def traces(self, experiment: str) -> list[mlflow.entities.Trace]:
        """The traces of an experiment, oldest first; none where there is no such experiment."""
        found = self.client.get_experiment_by_name(experiment)
        traces = self.client.search_traces([found.experiment_id], max_results=500) if found else []
        return sorted(traces, key=lambda trace: trace.info.timestamp_ms)

    def runs(self, experiment: str) -> list[mlflow.entities.Run]:
        """The runs of an experiment, oldest first."""
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None, f"no experiment {experiment!r} on the server"
        return self.client.search_runs([found.experiment_id], order_by=["start_time ASC"])


@dataclass(frozen=True)
class ProgramRun:
    """A program that ran to its end.

    Attributes:
        printed: What it printed.
        warned: What it wrote to its standard error.
        result: What it left for the test, if anything.
    """

    printed: str
    warned: str
    result: Any


@pytest.fixture(autouse=True, scope="module")
def own_variables() -> Iterator[None]:
    """What a module sets is set for its own processes alone: `mlflow.set_experiment` sets a variable, too."""
    before = _variables_of_mlflow()
    yield
    for name in _variables_of_mlflow():
        del os.environ[name]
    os.environ.update(before)
    mlflow.tracking.fluent._active_experiment_id = None


def _variables_of_mlflow() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of every process: nothing of the caller's MLflow, DSPy or keys."""
    foreign = ("MLFLOW_", "DSPY_", "OPENAI_", "PYTHON", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        # `mlflow models serve` looks for uvicorn on the path.
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OPENAI_API_KEY": CANARY_KEY,
        # The prompts name a set of labels: their order decides how the language model draws.
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "HOME": str(tmp_path_factory.mktemp("home")),
    }


@pytest.fixture(scope="session")
def reuters() -> Path:
    """The folder of Reuters R8."""
    missing = [name for name in ("train.tsv", "test.tsv") if not (REUTERS_R8 / name).is_file()]
    if missing:
        pytest.fail(
            f"Reuters R8 is missing: no {' and no '.join(missing)} in {REUTERS_R8}. Put the tab-separated "
            "files there (header `label` and `text`): the integration tests run on real input or not at all."
        )
    return REUTERS_R8


@contextmanager
def tracking_on(store: str, folder: Path, log: Path, environment: dict[str, str]) -> Iterator[TrackingServer]:
    """An `mlflow server` on a store, which is the current one as long as the block lasts."""
    port = free_port()
    command = [
        *(PYTHON.parent / "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", 1),
        *("--backend-store-uri", store, "--artifacts-destination", folder / "artifacts"),
    ]
    options = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with running(command, log, environment={**environment, **options}) as process:
        uri, before = f"http://127.0.0.1:{port}", mlflow.get_tracking_uri()
        process.wait_until(lambda: answers(f"{uri}/health"), "answered /health", 90)
        # mlflow 3.4 asks here, and not the client, where the spans of a trace are.
        mlflow.set_tracking_uri(uri)
        yield TrackingServer(uri, folder)
        mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[TrackingServer]:
    """An `mlflow server` on a SQLite store."""
    folder, log = tmp_path_factory.mktemp("tracking"), tmp_path_factory.mktemp("tracking-log")
    with tracking_on(f"sqlite:///{folder}/mlflow.db", folder, log, environment) as server:
        yield server


@pytest.fixture(scope="module")
def postgresql_server(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> Iterator[TrackingServer]:
    """An `mlflow server` on a PostgreSQL store. CI has to have one."""
    if what := postgresql.missing():
        pytest.fail(what) if os.environ.get("CI") == "true" else pytest.skip(what)
    folder, log = tmp_path_factory.mktemp("postgresql"), tmp_path_factory.mktemp("postgresql-log")
    with postgresql.database() as store, tracking_on(store, folder, log, environment) as server:
        yield server


@pytest.fixture(scope="session")
def lm_server(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[str]:
    """The base URL of a language model that speaks OpenAI's protocol."""
    command = [PYTHON, "-m", "tests.fakes.openai_server", "--port", 0, "--model", "in-context-classifier"]
    with running(command, tmp_path_factory.mktemp("lm"), environment=environment, cwd=ROOT) as process:
        process.wait_until(lambda: "\n" in process.stdout, "printed its address", 60)
        yield process.stdout.splitlines()[0]


@pytest.fixture(scope="session")
def run_program(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], tracking_server: TrackingServer
) -> Callable[..., ProgramRun]:
    """Runs a file of `programs/` as the `__main__` of a fresh process.

    The process has a cache of its own, so its answers come from the language model. What the
    program writes to the file named by RESULT_FILE is its result.
    """

    def run_(name: str, *, seconds: float = 180, stdin: str = "", **variables: object) -> ProgramRun:
        folder = tmp_path_factory.mktemp(name)
        result = folder / "result.json"
        own = {
            "MLFLOW_TRACKING_URI": tracking_server.uri,
            "DSPY_CACHEDIR": folder / "cache",
            "RESULT_FILE": result,
            **variables,
        }
        finished = run(
            [PYTHON, PROGRAMS / f"{name}.py"],
            folder,
            seconds=seconds,
            stdin=stdin,
            environment={**environment, **{key: str(value) for key, value in own.items()}},
        )
        left = json.loads(result.read_text()) if result.exists() else None
        return ProgramRun(finished.stdout, finished.stderr, left)

    return run_


@pytest.fixture(scope="session")
def served_model(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], tracking_server: TrackingServer
) -> Callable[..., AbstractContextManager[Callable[[Any], Any]]]:
    """Serves a model URI by `mlflow models serve`; the block gets a function that posts a payload."""

    @contextmanager
    def serve(model_uri: str, **variables: str) -> Iterator[Callable[[Any], Any]]:
        folder, port = tmp_path_factory.mktemp("serve"), free_port()
        command = [
            *(PYTHON.parent / "mlflow", "models", "serve", "--model-uri", model_uri),
            *("--env-manager", "local", "--host", "127.0.0.1", "--port", port),
        ]
        own = {"MLFLOW_TRACKING_URI": tracking_server.uri, "DSPY_CACHEDIR": str(folder / "cache"), **variables}
        with running(command, folder, environment={**environment, **own}) as process:
            url = f"http://127.0.0.1:{port}"
            process.wait_until(lambda: answers(f"{url}/ping"), "answered /ping", 120)
            yield lambda payload: post(f"{url}/invocations", payload)

    return serve


def post(url: str, payload: Any) -> Any:
    """Post JSON and return the JSON that answers it; an error is told with its body."""
    request = urllib.request.Request(url, json.dumps(payload).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url} answered {error.code}: {error.read().decode()}") from error


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the screenshots go."""
    named = os.environ.get("SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Browser]:
    """A Chromium. CI has to have one."""
    chromium = installed()
    if chromium is None:
        missing = "no Chromium is installed: apt-get install chromium"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    with browsing(chromium, tmp_path_factory.mktemp("chromium"), environment) as page:
        yield page

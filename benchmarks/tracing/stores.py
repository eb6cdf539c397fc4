"""Where traces go: a SQLite file, an `mlflow server` on one, nowhere; and how many have arrived."""

import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import cpu_seconds_of_session
from benchmarks.tracing import discard
from integration.processes import answers, free_port, running

STORES = ("sqlite", "server")
DATABASE = "mlflow.db"
POLL_SECONDS = 0.25
# In MLflow's tables, from 3.4 on: the traces that have ended, with the number of their spans that are there.
_ENDED = """
    SELECT t.request_preview, (SELECT count(*) FROM spans s WHERE s.trace_id = t.request_id)
    FROM trace_info t WHERE t.experiment_id = ? AND t.status = 'OK'
"""


@dataclass(frozen=True)
class Store:
    """A place for traces.

    Attributes:
        kind: Its kind, as contenders name it.
        uri: Its tracking URI.
        database: The SQLite file, where what has arrived is counted.
        server: The process that serves it, if one does.
    """

    kind: str
    uri: str
    database: Path | None = None
    server: int | None = None

    def new_experiment(self, name: str) -> str:
        """Make an experiment and return its id."""
        import mlflow

        # Directly, as the server would do it: nothing else writes now.
        artifacts = (self.database.parent / "artifacts").as_uri()
        return mlflow.MlflowClient(f"sqlite:///{self.database}").create_experiment(name, artifacts)

    def spans_of_traces(self, experiment: str) -> list[tuple[int, int]]:
        """The number in the question of each trace that has ended, and how many of its spans have arrived."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60)) as connection:
            found = connection.execute(_ENDED, [int(experiment)]).fetchall()
        return [(int(re.search(r"Call (\d+)", preview).group(1)), spans) for preview, spans in found]

    def server_cpu(self) -> float:
        """The CPU seconds of the server until now, with all of its processes; 0 without a server."""
        return cpu_seconds_of_session(self.server) if self.server else 0.0


def wait_until(done: Callable[[], bool], progress: Callable[[], object], patience: float) -> None:
    """Poll until it is done, or as long as there is progress.

    Args:
        done: Whether it is.
        progress: A value that changes with every progress.
        patience: Seconds without progress after which to give up.
    """
    last, since = progress(), time.monotonic()
    while not done() and time.monotonic() - since < patience:
        time.sleep(POLL_SECONDS)
        if (now := progress()) != last:
            last, since = now, time.monotonic()


def doubled(numbers: list[int]) -> int:
    """How many numbers stand there more than once."""
    return sum(1 for times in Counter(numbers).values() if times > 1)


@contextmanager
def opened(kind: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Store]:
    """Open a store of a kind in a folder, in which the database is; see `make_tables`."""
    if kind == discard.SCHEME:
        yield Store(kind, f"{discard.SCHEME}://")
        return
    database = folder / DATABASE
    if kind == "sqlite":
        yield Store(kind, f"sqlite:///{database}", database)
        return
    with _served(database, folder, environment) as (uri, process):
        yield Store(kind, uri, database, process)


def make_tables(database: Path) -> None:
    """Make a SQLite file with MLflow's tables; MLflow does so when it opens the file first."""
    Store("sqlite", f"sqlite:///{database}", database).new_experiment("first")


@contextmanager
def _served(database: Path, folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", 1),
        *("--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", folder / "artifacts"),
    ]
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with running(command, folder / "log", environment={**environment, **own}) as process:
        uri = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: answers(f"{uri}/health"), "answered /health", 120)
        yield uri, process.pid

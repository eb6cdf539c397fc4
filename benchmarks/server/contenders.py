"""What is served, and how: a process each."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving import contenders as serving
from benchmarks.serving.program import QUESTION
from integration.processes import Process, answers, free_port, running

_READY_SECONDS = 180
_OWN = ("mlflow_dspy_plugin.server",)
_RECORDS = {"dataframe_records": [QUESTION]}


@dataclass(frozen=True)
class Contender:
    """A way to serve the program.

    Attributes:
        what: It, in words.
        app: The module that serves it, and its arguments.
        payload: What a client sends.
        stream: The path that streams, and what a client sends there.
        settings: Of the server.
    """

    what: str
    app: tuple[str, ...]
    payload: Any
    stream: tuple[str, Any]
    settings: Mapping[str, str] = field(default_factory=dict)


_STREAMED = ("/invocations", {**_RECORDS, "stream": True})
CONTENDERS = {
    "plugin": Contender("this package's server, without traces", _OWN, _RECORDS, _STREAMED, {"TRACING": "false"}),
    "traced": Contender("this package's server, with traces", _OWN, _RECORDS, _STREAMED, {"TRACING": "true"}),
    "bare": Contender(
        "a FastAPI app that awaits the program",
        ("uvicorn", "benchmarks.server.bare:app"),
        QUESTION,
        ("/stream", QUESTION),
    ),
}


@dataclass(frozen=True)
class Server:
    """A contender that serves.

    Attributes:
        contender: Which.
        url: Where.
        process: The leader of its session.
        store: The URI of where its traces go.
    """

    contender: Contender
    url: str
    process: Process
    store: str

    @property
    def body(self) -> bytes:
        """What a client sends."""
        return json.dumps(self.contender.payload).encode()


@contextmanager
def served(name: str, api_base: str, folder: Path) -> Iterator[Server]:
    """Serve a contender."""
    contender, port, own = CONTENDERS[name], str(free_port()), folder / name
    own.mkdir(exist_ok=True)
    command, variables = [sys.executable, "-m", *contender.app], variables_of(name, api_base, folder)
    if contender.app is _OWN:
        variables["MLFLOW_DSPY_SERVER_PORT"] = port
    else:
        command += ["--port", port]
    with running(command, own / "log", environment=variables) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: answers(f"{url}/ping"), "answered /ping", _READY_SECONDS)
        yield Server(contender, url, process, _store(own))


def variables_of(name: str, api_base: str, folder: Path) -> dict[str, str]:
    """The variables of a contender's process."""
    variables = dict(serving.environment(folder, "plugin", api_base))
    variables |= {f"MLFLOW_DSPY_SERVER_{key}": value for key, value in CONTENDERS[name].settings.items()}
    if CONTENDERS[name].app is _OWN:
        variables["MLFLOW_DSPY_SERVER_MODELS"] = f"qa={serving.model_of('plugin', api_base, folder)}"
    # As many as ever ask: what limits a server for production is not what is measured.
    variables["MLFLOW_DSPY_SERVER_CONCURRENCY"] = "1024"
    variables["MLFLOW_DSPY_SPOOL_DIR"] = str(folder / name / "spool")
    return {**variables, "MLFLOW_TRACKING_URI": _store(folder / name)}


def _store(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"

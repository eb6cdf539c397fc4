"""What is served, and how: a process each, that answers POST /invocations."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.program import QUESTION
from benchmarks.surrounding import variables
from integration.processes import PYTHON, answers, free_port, running

_READY_SECONDS = 180


@dataclass(frozen=True)
class Contender:
    """A way to serve the program.

    Attributes:
        what: It, in words.
        flavor: The package whose flavor saves the model; None where no model is saved.
        switch: What switches to that flavor.
        payload: What a client sends.
    """

    what: str
    flavor: str | None
    switch: str
    payload: Any


_TABLE = {"dataframe_records": [QUESTION]}
CONTENDERS = {
    "mlflow": Contender("MLflow's own flavor, mlflow models serve", "mlflow", "false", _TABLE),
    "plugin": Contender("this package, mlflow models serve", "mlflow_dspy_plugin", "true", _TABLE),
    "bare": Contender("a FastAPI app that awaits the program, uvicorn", None, "false", QUESTION),
}


@dataclass(frozen=True)
class Server:
    """A contender that serves.

    Attributes:
        url: What clients post to.
        process: The leader of its session.
    """

    url: str
    process: int


def saved(name: str, api_base: str, folder: Path) -> Path:
    """Save the model of a contender in a process of its own, and return its folder.

    Raises:
        RuntimeError: If another flavor has saved it, or none.
    """
    contender, model = CONTENDERS[name], folder / f"model-{name}"
    command = [sys.executable, "-m", "benchmarks.serving.program", api_base, str(model)]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, name), capture_output=True, text=True, check=False
    )
    if done.stdout.split()[-1:] != [contender.flavor]:
        raise RuntimeError(f"{' '.join(command)} did not save by {contender.flavor}:\n{done.stdout}\n{done.stderr}")
    return model


def model_of(name: str, api_base: str, folder: Path) -> Path:
    """The model of a contender, saved once."""
    model = folder / f"model-{name}"
    return model if model.exists() else saved(name, api_base, folder)


@contextmanager
def served(name: str, api_base: str, folder: Path) -> Iterator[Server]:
    """Serve a contender."""
    port = str(free_port())
    if CONTENDERS[name].flavor:
        model = model_of(name, api_base, folder)
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"]
        command += ["--host", "127.0.0.1", "--port", port]
    else:
        command = [sys.executable, "-m", "uvicorn", "benchmarks.serving.bare:app", "--port", port]
    with running(command, folder / f"log-{name}", environment=environment(folder, name, api_base)) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: answers(f"{url}/ping"), "answered /ping", _READY_SECONDS)
        yield Server(f"{url}/invocations", process.pid)


def environment(folder: Path, name: str, api_base: str = "") -> Mapping[str, str]:
    """The variables of a contender's process."""
    return {
        **variables(folder),
        # `mlflow models serve` looks for uvicorn on the path.
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "BENCHMARK_API_BASE": api_base,
        "OPENAI_API_KEY": "none",
        "MLFLOW_DSPY_PLUGIN": CONTENDERS[name].switch,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }

"""A server that `mlflow deployments run-local -t dspy` has started, for the tests that talk to one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.processes import PYTHON, Finished, Process, answers, free_port, run, running

MLFLOW = PYTHON.parent / "mlflow"


@dataclass(frozen=True)
class Deployed:
    """A server that answers.

    Attributes:
        process: Its process.
        port: Where it listens.
    """

    process: Process
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        """As MLflow's deployments name it."""
        return f"dspy:{self.url}"


def run_local(model_uri: str, **config: object) -> list[object]:
    """The command that serves a model as `qa`; `config` are its settings."""
    settings = [part for name, value in config.items() for part in ("-C", f"{name}={value}")]
    return [MLFLOW, "deployments", "run-local", "-t", "dspy", "--name", "qa", "-m", model_uri, *settings]


@contextmanager
def deployed(model_uri: str, folder: Path, environment: Mapping[str, str], **config: object) -> Iterator[Deployed]:
    """Serve a model as long as the block lasts."""
    port = config.pop("port", None) or free_port()
    command = run_local(model_uri, port=port, **config)
    with running(command, folder, environment=environment) as process:
        server = Deployed(process, port)
        process.wait_until(lambda: answers(f"{server.url}/ping"), "answered /ping", 120)
        yield server


def deployments(*command: object, folder: Path, environment: Mapping[str, str]) -> Finished:
    """Run `mlflow deployments` to its end."""
    return run([MLFLOW, "deployments", *command], folder, environment=environment)

"""Where the measured processes run, and how they are spoken to."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.tracing import discard
from benchmarks.tracing.contenders import CONTENDERS, EXPERIMENT_VARIABLE
from benchmarks.tracing.stores import DATABASE, Store, make_tables, opened, wait_until

ROOT = Path(__file__).parents[2]
# Calls before any that count: what is made on first use is there afterwards.
WARM_UP_CALLS = 20
END_SECONDS = 600
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
# How long a store may take nothing before a trace counts as lost.
SETTLE_PATIENCE_SECONDS = 20


class Child:
    """A process that runs a contender, and does nothing until it is asked to.

    Attributes:
        name: The contender.
        store: Where its traces go.
        experiment: The experiment that they go to.
        made: How many calls it was asked to make.
        lost: How many traces never came, or not whole.
        spans: How many spans a call leaves.
    """

    def __init__(self, name: str, store: Store, experiment: str, folder: Path, environment: dict[str, str]) -> None:
        self.name, self.store, self.experiment = name, store, experiment
        self.made = self.lost = self.spans = 0
        self.contender = CONTENDERS[name]
        self._errors = (folder / "stderr.log").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.tracing.child", name],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            bufsize=1,
        )

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have it do something; see `Measured` in `child.py`.

        Raises:
            RuntimeError: If it dies of it.
        """
        try:
            self._process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}:\n{self._errors.read()[-8000:]}")
        return json.loads(line)

    def calls(self, count: int, **options: Any) -> dict[str, float]:
        """Have it call the program, each call with the next number."""
        answer = self.ask("calls", first=self.made, count=count, **options)
        self.made += count
        return answer

    def warm_up(self) -> dict[str, float]:
        """Make the first call, which tells how many spans a call leaves, and some more; returns what the first cost."""
        first = self.calls(1)
        self.settle()
        self.spans = max((spans for _, spans in self._stored()), default=0)
        self.calls(WARM_UP_CALLS)
        self.settle()
        return first

    def settle(self) -> None:
        """Wait until nothing is under way and its traces are in the store; those that do not come are lost."""
        self.ask("settle")
        if self._is_counted:
            self.wait_for_traces(SETTLE_PATIENCE_SECONDS)
            self.lost = self.made - len(self.arrived())

    def wait_for_traces(self, patience: float) -> None:
        """Wait until all of its traces that are not known to be lost have arrived, as long as any arrive."""
        wait_until(lambda: len(self.arrived()) >= self.made - self.lost, self._stored, patience)

    def arrived(self) -> list[int]:
        """The numbers of the calls whose traces are in the store with all of their spans."""
        return [number for number, spans in self._stored() if spans >= self.spans]

    @property
    def _is_counted(self) -> bool:
        return self.contender.traces and self.store.database is not None

    def _stored(self) -> list[tuple[int, int]]:
        return self.store.spans_of_traces(self.experiment) if self._is_counted else []

    def end(self) -> float:
        """End it as a program ends, and return the seconds that it took; it is killed if it takes for ever."""
        start = time.monotonic()
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        return time.monotonic() - start


@dataclass
class Bench:
    """A temporary folder with stores in it, and the processes that send to them.

    Attributes:
        folder: The folder.
    """

    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        discard.install(self.folder / "path")

    @contextmanager
    def store(self, kind: str) -> Iterator[Store]:
        """A new store of a kind."""
        folder = self._new_folder(kind)
        if kind != discard.SCHEME:
            shutil.copy(self._empty_database(), folder)
        with opened(kind, folder, self._environment()) as store:
            yield store

    def start(self, name: str, store: Store, variables: Mapping[str, str]) -> Child:
        """Start a process for a contender, with an experiment of its own."""
        folder = self._new_folder(name)
        experiment = store.new_experiment(folder.name) if store.database else "0"
        own = {
            "MLFLOW_DSPY_PLUGIN": str(CONTENDERS[name].plugin).lower(),
            "MLFLOW_TRACKING_URI": store.uri,
            EXPERIMENT_VARIABLE: experiment,
        }
        return Child(name, store, experiment, folder, {**self._environment(), **own, **variables})

    @contextmanager
    def side_by_side(
        self, names: Iterable[str], store: Store, variables: Mapping[str, str] = NO_VARIABLES
    ) -> Iterator[dict[str, Child]]:
        """Run a process for each contender, all started before the block begins, with more environment variables."""
        with ExitStack() as stack:
            children = {name: self.start(name, store, variables) for name in names}
            for child in children.values():
                stack.callback(child.end)
            for child in children.values():
                self._check(child)
            yield children

    def _check(self, child: Child) -> None:
        """Refuse to measure one flavor for the other."""
        package, expected = child.ask("flavor")["package"], "mlflow_dspy_plugin" if child.contender.plugin else "mlflow"
        if package not in (None, expected):
            raise RuntimeError(f"mlflow.dspy is {package}, not {expected}: is mlflow-dspy-plugin installed?")

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / f"{name}-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def _empty_database(self) -> Path:
        """MLflow's tables in a file; making them takes seconds, and copying them none."""
        path = self.folder / DATABASE
        if not path.exists():
            make_tables(path)
        return path

    def _environment(self) -> dict[str, str]:
        """The variables of a process: nothing of the caller's MLflow and DSPy, and all files in the folder."""
        foreign = ("MLFLOW_", "DSPY_", "OTEL_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {
            **kept,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_DISABLE_AGENT_HINT": "1",
            # What newer releases do of themselves.
            "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "DSPY_CACHEDIR": str(self.folder / "cache"),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "NO_PROXY": "127.0.0.1",
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(self.folder / "path")]),
        }

"""One compile of an optimizer -> one run: its parameters, datasets and best program."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
from mlflow.entities import RunStatus

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.tracking import artifacts

_PLAIN = (bool, int, float, str)
# Under this name the evaluations of a compile inherit its `CompileRun`.
COMPILE_RUN = "compile_run"


class CompileRun:
    """The run of a compile, as its evaluations see it.

    Attributes:
        run_id: The id of the run.
    """

    def __init__(self, run_id: str):
        self.run_id = run_id
        self._lock = threading.Lock()
        self._steps: Counter[str] = Counter()

    def next_step(self, key: str) -> int:
        """The number of evaluations under this key before this one."""
        with self._lock:
            self._steps[key] += 1
            return self._steps[key] - 1


@dataclass(frozen=True)
class _Open:
    handed_down: Any
    started_run: bool


class CompileCallback(dspy_seam.Watcher):
    """Records the outermost compile; those that it calls are part of it.

    A run that the user has opened is used; else one is started, and ended with the compile.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}

    @never_raises
    def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if not self.installed or handed_down.inherited(COMPILE_RUN) is not None:
            return
        started = mlflow.active_run() is None
        run = mlflow.start_run() if started else mlflow.active_run()
        handed = handed_down.hand_down(**{COMPILE_RUN: CompileRun(run.info.run_id)})
        self._open[call_id] = _Open(handed, started)
        artifacts.log_parameters(_parameters(instance, inputs))
        artifacts.log_lm()
        for name in ("trainset", "valset"):
            if inputs.get(name):
                artifacts.log_examples(inputs[name], f"{name}.json")

    @never_raises
    def on_compile_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        compile = self._open.pop(call_id, None)
        if compile is None:
            return
        handed_down.take_back(compile.handed_down)
        try:
            if exception is None:
                artifacts.log_program(outputs, "best_model.json")
        finally:
            if compile.started_run:
                mlflow.end_run(RunStatus.to_string(_status(exception)))


def _status(exception: BaseException | None) -> RunStatus:
    if exception is None:
        return RunStatus.FINISHED
    return RunStatus.FAILED if isinstance(exception, Exception) else RunStatus.KILLED


def _parameters(optimizer: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the optimizer was built with and its compile was called with, as far as it is plain."""
    found = {"optimizer": type(optimizer).__name__, **vars(optimizer), **inputs}
    return {name: value for name, value in found.items() if isinstance(value, _PLAIN) and not name.startswith("_")}

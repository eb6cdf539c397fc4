"""`autolog()`: validates what is asked for, installs it, uninstalls it."""

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

from mlflow_dspy_plugin.names import FLAVOR
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams.compile_events import report_compiles
from mlflow_dspy_plugin.seams.current_span import CurrentSpan
from mlflow_dspy_plugin.seams.handed_down import HANDED_DOWN
from mlflow_dspy_plugin.seams.mlflow import record_autologging
from mlflow_dspy_plugin.seams.threads import carry_into_threads
from mlflow_dspy_plugin.seams.trace_context import TRACE_CONTEXT
from mlflow_dspy_plugin.tracing.callback import TracingCallback
from mlflow_dspy_plugin.tracking.compile import CompileCallback
from mlflow_dspy_plugin.tracking.evaluate import EvaluationCallback


@dataclass(frozen=True)
class _Config:
    """What the user asked for; the names are those of MLflow's own `autolog`."""

    log_traces: bool
    log_traces_from_compile: bool
    log_traces_from_eval: bool
    log_compiles: bool
    log_evals: bool
    disable: bool
    silent: bool


_lock = threading.Lock()
_installed: list[Callable[[], None]] = []


def autolog(
    log_traces: bool = True,
    log_traces_from_compile: bool = False,
    log_traces_from_eval: bool = True,
    log_compiles: bool = False,
    log_evals: bool = False,
    disable: bool = False,
    silent: bool = False,
) -> None:
    """Record what DSPy programs do in MLflow, from now on and in every thread.

    A later call replaces what an earlier one has set. DSPy's settings are left as they are.

    Args:
        log_traces: Record a trace of every call of a program: its modules, language models,
            adapters and tools, nested as they were called.
        log_traces_from_compile: Record them inside an optimizer's `compile` too, which may call
            the program thousands of times.
        log_traces_from_eval: Record them inside `dspy.Evaluate` too.
        log_compiles: Record each optimizer's `compile` as a run: its parameters, datasets and the
            best program.
        log_evals: Record each `dspy.Evaluate` call: the program, its score and a table of results.
        disable: Record nothing, and undo what an earlier call has installed.
        silent: Give no warnings or log lines while doing so.
    """
    config = _Config(
        log_traces, log_traces_from_compile, log_traces_from_eval, log_compiles, log_evals, disable, silent
    )
    with _lock:
        _uninstall()
        if not disable:
            _install(config)
        record_autologging(FLAVOR, asdict(config))


# `mlflow.autolog()` finds the integration by this attribute.
autolog.integration_name = FLAVOR


def _install(config: _Config) -> None:
    callbacks: list[dspy_seam.Watcher] = []
    if config.log_traces:
        tracing = TracingCallback(
            trace_compiles=config.log_traces_from_compile,
            trace_evaluations=config.log_traces_from_eval,
        )
        callbacks.append(tracing)
        _installed.append(dspy_seam.watch_lm_results(tracing.on_lm_result))
    if config.log_compiles:
        callbacks.append(CompileCallback())
    if config.log_evals:
        callbacks.append(EvaluationCallback())
    _installed.append(dspy_seam.install_callbacks(callbacks))
    _installed.append(report_compiles())
    _installed.append(carry_into_threads([CurrentSpan(), HANDED_DOWN, TRACE_CONTEXT]))


def _uninstall() -> None:
    while _installed:
        _installed.pop()()

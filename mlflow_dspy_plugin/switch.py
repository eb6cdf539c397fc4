"""`autolog()`: validates what is asked for, installs it, uninstalls it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import mlflow

from mlflow_dspy_plugin.delivery.adoption import install_delivery
from mlflow_dspy_plugin.errors import SettingError
from mlflow_dspy_plugin.metering import count_answers
from mlflow_dspy_plugin.names import FLAVOR
from mlflow_dspy_plugin.recording.runs import install_recording
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams import lm_calls as lm_seam
from mlflow_dspy_plugin.seams.batches import watch_batches
from mlflow_dspy_plugin.seams.compile_events import report_compiles
from mlflow_dspy_plugin.seams.current_span import CurrentSpan
from mlflow_dspy_plugin.seams.handed_down import HANDED_DOWN
from mlflow_dspy_plugin.seams.mlflow import record_autologging
from mlflow_dspy_plugin.seams.otlp import add_semantics
from mlflow_dspy_plugin.seams.threads import carry_into_threads
from mlflow_dspy_plugin.seams.trace_context import TRACE_CONTEXT
from mlflow_dspy_plugin.seams.uncovered_calls import watch_uncovered_calls
from mlflow_dspy_plugin.tracing.callback import NOTABLE, TracingCallback
from mlflow_dspy_plugin.tracing.completion import complete
from mlflow_dspy_plugin.tracing.content import Content
from mlflow_dspy_plugin.tracing.conversations import conversation_of
from mlflow_dspy_plugin.tracing.semconv import attributes_of
from mlflow_dspy_plugin.tracking.compile import MOST_RUNS, CompileCallback
from mlflow_dspy_plugin.tracking.evaluate import EvaluationCallback, around_rows
from mlflow_dspy_plugin.tracking.insights import watch_optimizers
from mlflow_dspy_plugin.tracking.plain_values import use_words_of
from mlflow_dspy_plugin.tracking.roles import Roles, count_calls


@dataclass(frozen=True)
class _Config:
    """What the user asked for; the names are those of MLflow's own `autolog`, where it has them."""

    log_traces: bool
    log_traces_from_compile: bool | str
    log_traces_from_eval: bool
    log_compiles: bool
    log_evals: bool
    disable: bool
    silent: bool
    redact: Any
    capture_content: bool
    sampling_ratio: float | None
    max_candidate_runs: int

    def check(self) -> None:
        """Refuse what means nothing, before anything changes."""
        if self.log_traces_from_compile not in (True, False, NOTABLE):
            raise SettingError(
                f"log_traces_from_compile got {self.log_traces_from_compile!r}. Give True, False or {NOTABLE!r}."
            )
        ratio = self.sampling_ratio
        if ratio is not None and (
            isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1
        ):
            raise SettingError(f"sampling_ratio got {ratio!r}. Give a number from 0 to 1, or None to trace all calls.")
        most = self.max_candidate_runs
        if not isinstance(most, int) or isinstance(most, bool) or most < 0:
            raise SettingError(f"max_candidate_runs got {most!r}. Give a whole number from 0 on.")


_lock = threading.Lock()
_installed: list[Callable[[], None]] = []


def autolog(
    log_traces: bool = True,
    log_traces_from_compile: bool | Literal["failed-and-best"] = False,
    log_traces_from_eval: bool = True,
    log_compiles: bool = False,
    log_evals: bool = False,
    disable: bool = False,
    silent: bool = False,
    redact: Any = None,
    capture_content: bool = True,
    sampling_ratio: float | None = None,
    max_candidate_runs: int = MOST_RUNS,
) -> None:
    """Record what DSPy programs do in MLflow, from now on and in every thread.

    A later call replaces what an earlier one has set. DSPy's settings are left as they are.

    Args:
        log_traces: Record a trace of every call of a program: its modules, language models,
            adapters and tools, nested as they were called.
        log_traces_from_compile: Record them inside an optimizer's `compile` too, which may call
            the program thousands of times; "failed-and-best" records the calls that fail, and those
            of the evaluation that has the best score.
        log_traces_from_eval: Record them inside `dspy.Evaluate` too.
        log_compiles: Record each optimizer's `compile` as a run: its parameters, datasets, every
            candidate with its score and cost, the best program as a model, and a report.
        log_evals: Record each `dspy.Evaluate` call: the program, its score, a table of rows, and
            feedback on the traces.
        disable: Record nothing, and undo what an earlier call has installed.
        silent: Give no warnings or log lines while doing so.
        redact: What is put out of sight in traces beside what is known to be secret (keys,
            passwords, headers): a regular expression, as a text or compiled; a function that is
            given each text and returns what is left of it; or a list of those.
        capture_content: Whether traces hold texts, numbers and files. If not, they keep the
            structure: spans, names of fields, roles, parameters, tokens, cost, times.
        sampling_ratio: The part of the calls that is traced, from 0 to 1; all by default. It comes
            on top of MLflow's own (MLFLOW_TRACE_SAMPLING_RATIO).
        max_candidate_runs: How many evaluations of a compile get a nested run of their own, where
            `log_evals` is on; all of them are rows of the compile's table of candidates.

    Raises:
        SettingError: If one of these means nothing; what was set before stays.
    """
    traced = log_traces, log_traces_from_compile, log_traces_from_eval
    tracked = log_compiles, log_evals, disable, silent
    config = _Config(*traced, *tracked, redact, capture_content, sampling_ratio, max_candidate_runs)
    config.check()
    content = Content(redact, capture_content)
    with _lock:
        _uninstall()
        if not disable:
            _install(config, content)
        record_autologging(FLAVOR, vars(config))


# `mlflow.autolog()` finds the integration by this attribute.
autolog.integration_name = FLAVOR


def _install(config: _Config, content: Content) -> None:
    callbacks: list[dspy_seam.Watcher] = []
    if config.log_traces:
        callbacks.append(_install_tracing(config, content))
    if config.log_compiles or config.log_evals:
        callbacks += _install_tracking(config, content)
    _installed.append(dspy_seam.install_callbacks(callbacks))
    _installed.append(report_compiles())
    _installed.append(carry_into_threads([CurrentSpan(), HANDED_DOWN, TRACE_CONTEXT]))


def _install_tracking(config: _Config, content: Content) -> list[dspy_seam.Watcher]:
    _installed.append(use_words_of(content))
    _installed.append(count_answers())
    _installed.append(count_calls())
    _installed.append(watch_batches(around_rows))
    _installed.append(install_recording(mlflow.get_tracking_uri()))
    # What an optimization is made of is told by its evaluations, whether or not others are recorded.
    watchers = [Roles(), EvaluationCallback(alone=config.log_evals)]
    if not config.log_compiles:
        return watchers
    _installed.append(watch_optimizers())
    return [*watchers, CompileCallback(config.max_candidate_runs, evaluations=config.log_evals)]


def _install_tracing(config: _Config, content: Content) -> TracingCallback:
    tracing = TracingCallback(
        content,
        sampling_ratio=config.sampling_ratio,
        trace_compiles=config.log_traces_from_compile,
        trace_evaluations=config.log_traces_from_eval,
    )
    _installed.append(install_delivery([complete]))
    _installed.append(lm_seam.watch_results(tracing.on_lm_result))
    _installed.append(lm_seam.watch_attempts(tracing.on_lm_attempt))
    _installed.append(lm_seam.watch_chunks(tracing.on_lm_chunk))
    _installed.append(lm_seam.watch_cache_hits(tracing.on_cache_hit))
    _installed.append(watch_uncovered_calls(tracing))
    _installed.append(add_semantics(attributes_of, conversation_of))
    return tracing


def _uninstall() -> None:
    while _installed:
        _installed.pop()()

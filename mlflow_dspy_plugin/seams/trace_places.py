"""The experiments that traces belong to, without asking the store each time.

Where the environment names one, MLflow asks for it at every trace, and waits minutes for a store that is not there.
"""

import os
import threading
from types import SimpleNamespace

import mlflow
from mlflow.entities import TraceInfo
from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME
from mlflow.tracing import trace_manager
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor
from mlflow.tracing.provider import _MLFLOW_TRACE_USER_DESTINATION
from mlflow.tracing.utils import get_experiment_id_for_trace, get_otel_attribute
from mlflow.tracking import fluent
from opentelemetry.sdk.trace import ReadableSpan

from mlflow_dspy_plugin.seams.refusals import at_once

# What the environment said of an experiment, with the tracking URI, and the id that the store knew it by: as
# `mlflow.set_experiment` would, it holds for the process.
_known: dict[tuple[str | None, ...], str] = {}
_asking = threading.Lock()
# Older releases have no workspaces.
_workspace = getattr(trace_manager, "get_request_workspace", lambda: None)


def experiment_of(span: ReadableSpan) -> str | None:
    """The id of the experiment that the trace of a span belongs to.

    Raises:
        MlflowException: If the store has to be asked, and does not say.
    """
    if not _is_for_the_environment_to_say(span):
        return get_experiment_id_for_trace(span)
    name, experiment_id = MLFLOW_EXPERIMENT_NAME.get(), MLFLOW_EXPERIMENT_ID.get()
    if not name:
        return experiment_id
    said = mlflow.get_tracking_uri(), _workspace(), name, experiment_id
    # Of threads that begin at once, one asks: MLflow makes an experiment that there is not, and fails to make it twice.
    with _asking:
        if said not in _known:
            with at_once():
                _known[said] = get_experiment_id_for_trace(span)
        return _known[said]


def know_places(processor: MlflowV3SpanProcessor) -> None:
    """Have a processor ask the store once, and not for an id that the environment gives."""
    theirs, place = processor._start_trace, _MLFLOW_TRACE_USER_DESTINATION._context_local_value

    def start_trace(root: ReadableSpan) -> TraceInfo:
        if not _is_for_the_environment_to_say(root):
            return theirs(root)
        token = place.set(SimpleNamespace(experiment_id=experiment_of(root)))
        try:
            return theirs(root)
        finally:
            place.reset(token)

    processor._start_trace = start_trace


def forget_places(processor: MlflowV3SpanProcessor) -> None:
    """Have it ask as MLflow does."""
    del processor._start_trace


def _is_for_the_environment_to_say(span: ReadableSpan) -> bool:
    if fluent._active_experiment_id or not (MLFLOW_EXPERIMENT_NAME.get() or MLFLOW_EXPERIMENT_ID.get()):
        return False
    if get_otel_attribute(span, SpanAttributeKey.EXPERIMENT_ID) or fluent._get_latest_active_run():
        return False
    return getattr(_MLFLOW_TRACE_USER_DESTINATION.get(), "experiment_id", None) is None


def _after_fork() -> None:
    global _asking
    _asking = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

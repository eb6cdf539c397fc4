"""Tracing is on, and no test leaves a trace open or a span in the context."""

import dspy
import mlflow
import pytest

from tests.fakes.scripted import scripted_lm
from tests.tracing.logs import warnings_logged
from tests.tracing.trees import open_traces


@pytest.fixture(autouse=True)
def tracing(store, monkeypatch):
    """Autologging with its defaults, over a program whose LM always answers "a"."""
    # Waiting for MLflow's queue would take most of the time of these tests.
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    mlflow.tracing.reset()
    mlflow.dspy.autolog()
    dspy.configure(lm=scripted_lm({"answer": "a"}))
    before = open_traces()
    yield
    assert mlflow.get_current_active_span() is None
    assert open_traces() == before
    mlflow.tracing.reset()


@pytest.fixture
def log():
    """The warnings of the test so far."""
    with warnings_logged() as messages:
        yield messages


@pytest.fixture
def trace(traces):
    """Reads the one trace that the test made."""

    def read():
        found = traces()
        assert len(found) == 1, found
        return found[0]

    return read

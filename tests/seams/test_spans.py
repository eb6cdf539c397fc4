"""Spans of MLflow, entered and left."""

import contextvars

import mlflow
import pytest

from mlflow_dspy_plugin.seams import spans as seam
from tests.tracing.logs import warnings_logged


@pytest.fixture
def spans(store):
    """Two spans, one below the other."""
    outer = mlflow.start_span_no_context("outer")
    inner = mlflow.start_span_no_context("inner", parent_span=outer)
    yield outer, inner
    inner.end()
    outer.end()


def current():
    span = mlflow.get_current_active_span()
    return span and span.name


def test_a_span_is_current_between_enter_and_leave(spans):
    tokens = [seam.enter_span(span) for span in spans]
    assert current() == "inner"
    seam.leave_span(tokens[1])
    assert current() == "outer"
    seam.leave_span(tokens[0])
    assert current() is None


def test_leaving_leaves_what_was_entered_later_too(spans):
    """A call that was interrupted before it began is never told that it ended."""
    token = seam.enter_span(spans[0])
    seam.enter_span(spans[1])
    seam.leave_span(token)
    assert current() is None


def test_leaving_in_another_context_changes_nothing_and_logs_nothing(spans):
    elsewhere = contextvars.copy_context()
    token = elsewhere.run(seam.enter_span, spans[0])
    mine = seam.enter_span(spans[1])
    with warnings_logged() as log:
        seam.leave_span(token)
    assert log == []
    assert (current(), elsewhere.run(current)) == ("inner", "outer")
    seam.leave_span(mine)


@pytest.mark.parametrize("isolated", ["true", "false"])
def test_both_ways_in_which_mlflow_keeps_its_context_are_left(isolated, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_USE_DEFAULT_TRACER_PROVIDER", isolated)
    mlflow.tracing.reset()
    span = mlflow.start_span_no_context("only")
    seam.leave_span(seam.enter_span(span))
    assert current() is None
    span.end()
    mlflow.tracing.reset()

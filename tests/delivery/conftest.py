"""Delivery is on and asynchronous, as it is by default, with a spool of the test's own."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator

import mlflow
import pytest

from mlflow_dspy_plugin.delivery.adoption import adopt, install_delivery
from tests.fakes.tracking_server import TrackingServer, tracking_server
from tests.tracing.logs import warnings_logged


@pytest.fixture(autouse=True)
def fresh_tracing(store, monkeypatch):
    """Tracing that has not begun."""
    monkeypatch.delenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", raising=False)
    monkeypatch.setenv("MLFLOW_DSPY_EXIT_TIMEOUT", "2")
    mlflow.tracing.reset()
    yield
    mlflow.tracing.reset()


@pytest.fixture
def install() -> Iterator[Callable[..., Callable[[], None]]]:
    """Switches delivery on, and off when the test ends."""
    undone = []

    def install_(*complete) -> Callable[[], None]:
        undo = install_delivery(complete)
        undone.append(undo)
        return undo

    yield install_
    for undo in undone:
        with contextlib.suppress(ValueError):
            undo()


@pytest.fixture
def server(tmp_path) -> Iterator[TrackingServer]:
    """A tracking server that refuses as it is told to; traces go there."""
    with tracking_server(tmp_path / "artifacts") as running:
        mlflow.set_tracking_uri(running.uri)
        yield running


@pytest.fixture
def log():
    """The warnings of the test so far."""
    with warnings_logged() as messages:
        yield messages


def trace_of(*names: str) -> str:
    """Make a trace of nested spans, under delivery; its id."""
    root = mlflow.start_span_no_context(names[0])
    adopt()
    below = root
    opened = [below := mlflow.start_span_no_context(name, parent_span=below) for name in names[1:]]
    for span in reversed(opened):
        span.end()
    root.end()
    return root.trace_id


def stored_in(path) -> list[str]:
    """The ids of the traces in a SQLite store."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return sorted(row[0] for row in connection.execute("SELECT request_id FROM trace_info"))

"""A canary in the environment, and what was said of it."""

import logging

import pytest

from tests.needs.conftest import module, on_path  # noqa: F401
from tests.scrubbing.canaries import CANARIES, VARIABLE


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a canary into the environment."""
    monkeypatch.setenv(VARIABLE, CANARIES["of the environment"])


@pytest.fixture
def said(caplog, capfd):
    """Everything that was logged or printed since it was asked last."""
    caplog.set_level(logging.DEBUG, "mlflow_dspy_plugin")

    def read() -> str:
        printed = capfd.readouterr()
        logged = "\n".join(record.getMessage() for record in caplog.records)
        caplog.clear()
        return printed.out + printed.err + logged

    return read

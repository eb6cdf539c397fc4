"""For tests that save to folders and load from them: the fixture `store` without a tracking store, which costs time."""

from pathlib import Path

import dspy
import pytest


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A working folder for one test, and DSPy's settings as they were after it."""
    monkeypatch.chdir(tmp_path)
    # Whoever begins to trace in such a test settles how the traces of later tests are stored, too: at once.
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    settings = dict(dspy.settings.config)
    yield tmp_path
    dspy.configure(**settings)

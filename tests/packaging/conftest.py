"""Modules of the user's own, on the path for one test; a canary in the environment, and what was said of it."""

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tests.packaging.canaries import CANARIES, VARIABLE
from tests.packaging.own_modules import written


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes files to a folder of a test, and puts the folder first on the path."""
    before = set(sys.modules)

    def write(files: Mapping[str, str], folder: str = "own") -> Path:
        written(tmp_path / folder, files)
        monkeypatch.syspath_prepend(str(tmp_path / folder))
        return tmp_path / folder

    yield write
    for name in set(sys.modules) - before:
        # A module that is imported lazily is not imported by asking for its type's attribute.
        if str(tmp_path) in str(ModuleType.__getattribute__(sys.modules[name], "__spec__")):
            del sys.modules[name]


@pytest.fixture
def module(on_path: Callable) -> Callable[..., ModuleType]:
    """Writes files to the path and imports one of them."""

    def write_and_import(name: str, files: Mapping[str, str]) -> ModuleType:
        on_path(files)
        return importlib.import_module(name)

    return write_and_import


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

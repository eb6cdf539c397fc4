"""Modules of the user's own, on the path for one test."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tests.needs.own_modules import written


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

"""When `mlflow.dspy` means this package; what fresh interpreters find is in `integration/test_discovery.py`."""

import sys

import pytest

from mlflow_dspy_plugin import discovery


@pytest.mark.parametrize(
    ("value", "on"),
    [("false", False), ("0", False), ("FALSE", False), ("off", False), ("true", True), ("", True)],
)
def test_the_switch_reads_what_people_write(value, on, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_PLUGIN", value)
    assert discovery.is_switched_on() is on


def test_installing_twice_is_once():
    discovery.install()
    assert [type(finder) for finder in sys.meta_path].count(discovery._Finder) == 1

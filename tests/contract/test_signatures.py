"""Whatever can be passed to MLflow's own flavor can be passed to this package in the same way."""

import inspect
import json
import os
import subprocess
import sys

import mlflow
import pytest


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


FUNCTIONS = ("save_model", "log_model", "load_model", "_load_pyfunc", "autolog")

DUMP = f"""
import inspect, json
import mlflow.dspy
assert mlflow.dspy.__file__.endswith("__init__.py"), mlflow.dspy.__file__
print("SIGNATURES " + json.dumps({{
    name: [[p.name, p.kind.name, repr(p.default)]
           for p in inspect.signature(getattr(mlflow.dspy, name)).parameters.values()]
    for name in {FUNCTIONS!r}
}}))
"""


@pytest.fixture(scope="module")
def of_mlflow() -> dict[str, list[list[str]]]:
    """Name, kind and default of every parameter of the flavor that MLflow ships."""
    environment = {**os.environ, "MLFLOW_DSPY_PLUGIN": "false"}
    done = subprocess.run([sys.executable, "-c", DUMP], env=environment, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("SIGNATURES ")]
    assert lines, done.stderr
    return json.loads(lines[0].removeprefix("SIGNATURES "))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_of_mlflow_is_there_in_its_place_with_its_default(of_mlflow, name):
    function = getattr(mlflow.dspy, name)
    assert function.__module__.startswith("mlflow_dspy_plugin.")
    ours = [[p.name, p.kind.name, repr(p.default)] for p in inspect.signature(function).parameters.values()]
    theirs = of_mlflow[name]
    assert ours[: len(theirs)] == theirs
    assert all(default != repr(inspect.Parameter.empty) for _, _, default in ours[len(theirs) :])

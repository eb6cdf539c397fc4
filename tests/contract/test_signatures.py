"""Whatever can be passed to MLflow's own flavor can be passed to this package in the same way."""

import importlib
import inspect
from collections.abc import Callable

import mlflow
import pytest


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


# Where MLflow defines the public functions of its own flavor.
MODULES = {
    "save_model": "mlflow.dspy.save",
    "log_model": "mlflow.dspy.save",
    "load_model": "mlflow.dspy.load",
    "_load_pyfunc": "mlflow.dspy.load",
    "autolog": "mlflow.dspy.autolog",
}


def parameters_of(function: Callable) -> list[tuple[str, str, str]]:
    """Name, kind and default of every parameter."""
    return [(p.name, p.kind.name, repr(p.default)) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", MODULES)
def test_every_parameter_of_mlflow_is_there_in_its_place_with_its_default(name):
    function, of_mlflow = getattr(mlflow.dspy, name), getattr(importlib.import_module(MODULES[name]), name)
    assert function.__module__.startswith("mlflow_dspy_plugin.")
    assert of_mlflow.__module__.startswith("mlflow.")
    ours, theirs = parameters_of(function), parameters_of(of_mlflow)
    assert ours[: len(theirs)] == theirs
    assert all(default != repr(inspect.Parameter.empty) for _, _, default in ours[len(theirs) :])

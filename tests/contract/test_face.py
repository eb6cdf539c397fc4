"""The face of the package: what `mlflow_dspy_plugin` and `mlflow.dspy` promise to name."""

import importlib
import pkgutil

import mlflow
import pytest

import mlflow_dspy_plugin
from mlflow_dspy_plugin.names import PUBLIC_NAMES

MLFLOW_SUBMODULES = ["autolog", "callback", "constant", "load", "save", "util", "wrapper"]


def test_all_lists_every_public_name_in_order():
    expected = sorted(name for name in PUBLIC_NAMES if not name.startswith("_"))
    assert mlflow_dspy_plugin.__all__ == expected == mlflow.dspy.__all__


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_a_public_name_is_the_same_object_by_either_name_of_the_package(name):
    home = importlib.import_module(f"mlflow_dspy_plugin.{PUBLIC_NAMES[name]}")
    assert getattr(mlflow.dspy, name) is getattr(mlflow_dspy_plugin, name) is getattr(home, name)


def test_no_submodule_bears_a_public_name():
    submodules = {module.name for module in pkgutil.iter_modules(mlflow_dspy_plugin.__path__)}
    assert not submodules & set(PUBLIC_NAMES)


@pytest.mark.parametrize("submodule", MLFLOW_SUBMODULES)
def test_mlflows_own_submodules_stay_importable(submodule):
    module = importlib.import_module(f"mlflow.dspy.{submodule}")
    assert module.__file__.startswith(mlflow.__path__[0])


@pytest.mark.parametrize("submodule", [name for name in MLFLOW_SUBMODULES if name not in PUBLIC_NAMES])
def test_mlflows_own_submodules_are_attributes_without_an_import(submodule):
    assert getattr(mlflow.dspy, submodule) is importlib.import_module(f"mlflow.dspy.{submodule}")


def test_autolog_stays_the_function_after_mlflows_module_of_that_name_is_imported():
    before = mlflow.dspy.autolog
    importlib.import_module("mlflow.dspy.autolog")
    assert mlflow.dspy.autolog is before is mlflow_dspy_plugin.autolog
    from mlflow.dspy import autolog

    assert autolog is before


def test_an_unknown_name_is_an_attribute_error():
    for module in (mlflow.dspy, mlflow_dspy_plugin):
        with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
            _ = module.no_such_name


def test_dir_shows_the_public_names():
    assert set(mlflow_dspy_plugin.__all__) <= set(dir(mlflow.dspy)) & set(dir(mlflow_dspy_plugin))

"""The entry points of the package, as an installed MLflow finds them."""

from importlib.metadata import entry_points, version

import dspy
import mlflow
from mlflow.tracking.context.registry import _run_context_provider_registry

import mlflow_dspy_plugin
from mlflow_dspy_plugin.entry_points.evaluator import DspyEvaluator
from mlflow_dspy_plugin.entry_points.run_context import DspyRunContext


def test_mlflow_has_loaded_the_run_context_provider():
    assert any(isinstance(provider, DspyRunContext) for provider in _run_context_provider_registry)


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="mlflow-dspy")
    assert callable(command.load())


def test_a_run_carries_the_versions_of_dspy_and_of_the_plugin():
    with mlflow.start_run() as run:
        tags = mlflow.get_run(run.info.run_id).data.tags
    assert tags["dspy.version"] == dspy.__version__
    assert tags["mlflow_dspy_plugin.version"] == version("mlflow-dspy-plugin")


def test_the_version_is_that_of_the_distribution():
    assert mlflow_dspy_plugin.__version__ == version("mlflow-dspy-plugin")


def test_switched_off_the_provider_has_no_tags(monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_PLUGIN", "false")
    assert not DspyRunContext().in_context()


def test_the_evaluator_is_installed():
    (evaluator,) = entry_points(group="mlflow.model_evaluator", name="dspy")
    assert evaluator.load() is DspyEvaluator

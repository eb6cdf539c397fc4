"""The entry points of the package, as an installed MLflow finds them."""

import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import dspy
import mlflow
import mlflow.data
from mlflow.data.dataset_source_registry import get_registered_sources
from mlflow.deployments import get_deploy_client
from mlflow.deployments.interface import plugin_store
from mlflow.tracking.context.registry import _run_context_provider_registry

import mlflow_dspy_plugin
from mlflow_dspy_plugin.entry_points import deployments
from mlflow_dspy_plugin.entry_points.dataset import DspyDatasetSource, from_dspy
from mlflow_dspy_plugin.entry_points.evaluator import DspyEvaluator
from mlflow_dspy_plugin.entry_points.run_context import DspyRunContext


def test_mlflow_has_loaded_the_run_context_provider():
    assert any(isinstance(provider, DspyRunContext) for provider in _run_context_provider_registry)


def test_the_command_is_installed():
    (command,) = entry_points(group="console_scripts", name="mlflow-dspy")
    assert callable(command.load())


def test_mlflow_finds_the_deployment_target():
    plugin = plugin_store["dspy"]
    assert plugin is deployments and "run-local -t dspy" in plugin.target_help()
    assert type(get_deploy_client("dspy:http://127.0.0.1:5001")) is deployments.DspyDeploymentClient


def test_the_deployment_target_imports_nothing_that_serves_until_it_is_used():
    code = (
        "import sys, mlflow_dspy_plugin.entry_points.deployments; print(sorted({'dspy', 'uvicorn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_mlflow_has_the_constructor_and_the_source_of_datasets():
    assert mlflow.data.from_dspy is from_dspy
    assert DspyDatasetSource in get_registered_sources()


def test_the_dataset_entry_points_need_no_dspy(tmp_path):
    (tmp_path / "dspy.py").write_text("raise ModuleNotFoundError('No module named dspy', name='dspy')")
    asked = "import mlflow, mlflow.data\ntry: mlflow.data.from_dspy([])\nexcept ImportError as error: print(error)"
    path = os.pathsep.join([str(tmp_path), str(Path(mlflow_dspy_plugin.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:mlflow.data", "-c", asked],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "pip install 'dspy>=3.0.3'" in done.stdout, done.stderr


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

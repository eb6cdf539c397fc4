"""What `mlflow deployments help -t dspy` prints is whole."""

from mlflow_dspy_plugin.entry_points.deployments import target_help
from mlflow_dspy_plugin.server.manual import MEANINGS
from mlflow_dspy_plugin.server.settings import KINDS, from_config


def test_every_setting_is_explained_and_none_that_is_not_there():
    assert list(MEANINGS) == list(KINDS)


def test_the_help_has_each_setting_with_its_default():
    lines = {line.split()[0]: line for line in target_help().splitlines() if line.startswith("    ")}
    defaults = from_config("qa", "models:/qa/1")
    assert all(name in lines for name in KINDS)
    assert lines["port"].endswith(f"({defaults.port})") and lines["warm_up"].endswith("(true)")
    assert lines["keys_file"].endswith("(none)") and lines["drain"].endswith("(30)")


def test_the_help_names_the_variables_of_keys():
    assert {"MLFLOW_DSPY_API_KEYS", "MLFLOW_DSPY_API_KEYS_FILE", "MLFLOW_DSPY_API_KEY."} <= set(target_help().split())

"""What reaches into MLflow: the table of integrations."""

import mlflow
import pytest

from mlflow_dspy_plugin import boundary


@pytest.mark.parametrize("silent", [True, False])
def test_silence_is_read_from_mlflow_s_table(silent):
    mlflow.dspy.autolog(silent=silent)
    assert boundary.is_silent() is silent

"""`mlflow.autolog()` in a process that imports dspy only afterwards, in releases that MLflow does not list."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import empty_store, store  # noqa: F401

SCRIPT = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.autolog()
assert "dspy" not in sys.modules
import dspy
from tests.fakes.scripted import scripted_lm
dspy.configure(lm=scripted_lm({"answer": "a"}))
dspy.Predict("question -> answer")(question="as installed")
for dspy.__version__ in ("1.0.0", "99.0"):
    mlflow.autolog(disable_for_unsupported_versions=True)
    dspy.Predict("question -> answer")(question=dspy.__version__)
mlflow.dspy.autolog(disable=True)
for trace in mlflow.search_traces(return_type="list"):
    print(trace.data.spans[0].inputs["question"], len(trace.data.spans))
"""


def test_mlflow_autolog_before_import_dspy_traces_whatever_the_release(store):
    """Neither a release below MLflow's table of tested ones nor one above it gets a warning."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"sqlite:///{store}"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert sorted(done.stdout.splitlines()) == ["1.0.0 4", "99.0 4", "as installed 4"], done.stderr
    assert "version" not in done.stderr

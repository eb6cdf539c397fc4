"""Runs of the test's experiment, as a test wants to see them."""

import dspy
import mlflow
import pytest

from tests.fakes.scripted import scripted_lm

# Put together here: this file may travel with a model.
KEY = "-".join(["key", "that", "must", "not", "be", "stored", "1234567890"])


class Kept:
    """A run with what it holds."""

    def __init__(self, run):
        self.info, self.data = run.info, run.data
        self.name, self.status = run.info.run_name, run.info.status
        self.params, self.metrics = run.data.params, run.data.metrics
        self.parent = run.data.tags.get("mlflow.parentRunId")
        listed = mlflow.MlflowClient().list_artifacts(run.info.run_id)
        self.files = sorted(file.path for file in listed)

    def load(self, file):
        return mlflow.artifacts.load_dict(f"{self.info.artifact_uri}/{file}")

    def rows(self, file):
        table = self.load(file)
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]

    def history(self, metric):
        found = mlflow.MlflowClient().get_metric_history(self.info.run_id, metric)
        return [(each.step, each.value) for each in found]


@pytest.fixture(autouse=True)
def lm(store):
    """An LM that always answers "a"."""
    lm = scripted_lm({"answer": "a"}, temperature=1.0, max_tokens=50)
    dspy.configure(lm=lm)
    yield lm
    assert mlflow.active_run() is None


@pytest.fixture
def runs(store):
    """Reads the runs, oldest first, and makes sure that none is running and none holds a key."""

    def read():
        found = [Kept(run) for run in mlflow.search_runs(output_format="list")]
        folder = store.parent
        for path in folder.rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
        assert [run.name for run in found if run.status == "RUNNING"] == []
        return sorted(found, key=lambda run: run.info.start_time)

    return read

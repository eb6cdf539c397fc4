"""A run as the server has stored it, with all that it holds."""

import functools
from typing import Any

import mlflow


class StoredRun:
    """A run of a server; each artifact is fetched once.

    Args:
        client: A client of the server.
        run: The run, as the server gives it.
    """

    def __init__(self, client: mlflow.MlflowClient, run: mlflow.entities.Run) -> None:
        self._client, self.info = client, run.info
        self.id, self.name, self.status = run.info.run_id, run.info.run_name, run.info.status
        self.params, self.metrics, self.tags = run.data.params, run.data.metrics, run.data.tags
        self.parent = run.data.tags.get("mlflow.parentRunId")
        # By the name of the dataset: its digest, and what it is for.
        self.inputs = {
            each.dataset.name: (each.dataset.digest, each.tags[0].value) for each in run.inputs.dataset_inputs
        }

    @functools.cached_property
    def models(self) -> list[str]:
        """The ids of the models that it has logged."""
        # mlflow 3.4 leaves them out of what it finds by a search.
        outputs = self._client.get_run(self.id).outputs
        return [each.model_id for each in outputs.model_outputs] if outputs else []

    @functools.cached_property
    def files(self) -> list[str]:
        """The names of its artifacts."""
        return sorted(file.path for file in self._client.list_artifacts(self.id))

    @functools.cache  # noqa: B019
    def text(self, file: str) -> str:
        """An artifact as text."""
        return mlflow.artifacts.load_text(f"{self.info.artifact_uri}/{file}")

    @functools.cache  # noqa: B019
    def json(self, file: str) -> Any:
        """An artifact as JSON."""
        return mlflow.artifacts.load_dict(f"{self.info.artifact_uri}/{file}")

    def rows(self, file: str) -> list[dict[str, Any]]:
        """An artifact that MLflow shows as a table."""
        table = self.json(file)
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]

    def history(self, metric: str) -> list[tuple[int, float]]:
        """All values of a metric, with their steps."""
        found = self._client.get_metric_history(self.id, metric)
        return sorted((each.step, each.value) for each in found)

    @property
    def record(self) -> dict[str, Any]:
        """What is known of an optimization."""
        return self.json("optimization.json")


def stored_runs(client: mlflow.MlflowClient, experiment: str) -> list[StoredRun]:
    """The runs of an experiment, oldest first."""
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], order_by=["start_time ASC"]) if found else []
    return [StoredRun(client, run) for run in runs]

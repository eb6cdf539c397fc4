"""How MLflow's client is spared requests, and words on the terminal, that nobody needs while a run is written."""

import posixpath
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, RunStatus
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri


def tracking_store_of(client: MlflowClient) -> Any:
    """The tracking store that a client writes to."""
    return client._tracking_client.store


def end_quietly(client: MlflowClient, run_id: str, status: str, milliseconds: int) -> None:
    """End a run. Of a server the client asks the run again, to print where it can be seen."""
    store = tracking_store_of(client)
    store.update_run_info(run_id, RunStatus.from_string(status), milliseconds, None)


def log_text_of(client: MlflowClient, run: Run, text: str, file: str) -> None:
    """Log a text as an artifact of a run that is known. The client asks the store where its artifacts are."""
    uri = add_databricks_profile_info_to_artifact_uri(run.info.artifact_uri, client.tracking_uri)
    folder, name = posixpath.split(file)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, name)
        path.write_text(text, encoding="utf-8")
        repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
        repository.log_artifact(str(path), folder or None)

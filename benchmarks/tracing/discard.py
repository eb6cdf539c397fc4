"""A tracking store that takes every trace at once and keeps none, found by MLflow's entry points for stores."""

from pathlib import Path
from typing import Any

from mlflow.entities import Experiment

SCHEME = "discard"
# MLflow's tag on a trace whose spans the store has taken; without it they are uploaded as an artifact.
_TAKEN = {"mlflow.trace.spansLocation": "TRACKING_STORE"}


class DiscardingStore:
    """What of a tracking store the SDK asks while it traces.

    Attributes:
        arrived: How many traces it was given.
    """

    arrived = 0

    def __init__(self, store_uri: str, artifact_uri: str | None = None) -> None:
        self._experiment = Experiment(
            experiment_id="0", name="Default", artifact_location=store_uri, lifecycle_stage="active"
        )

    def get_experiment(self, experiment_id: str) -> Experiment:
        """There is one."""
        return self._experiment

    def get_experiment_by_name(self, experiment_name: str) -> Experiment:
        """There is one."""
        return self._experiment

    def start_trace(self, trace_info: Any) -> Any:
        """Count a trace."""
        type(self).arrived += 1
        trace_info.tags.update(_TAKEN)
        return trace_info

    def log_spans(self, location: str, spans: list[Any], *_: Any, **__: Any) -> list[Any]:
        """Take spans."""
        return spans


def install(folder: Path) -> None:
    """Make the store known to every process that has the folder on its path."""
    metadata = folder / "benchmark_discard-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: benchmark-discard\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text(f"[mlflow.tracking_store]\n{SCHEME} = {__name__}:DiscardingStore\n")

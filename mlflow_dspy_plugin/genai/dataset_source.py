"""Where the rows of logged examples are: a file among the artifacts of a run.

MLflow loads this file while it is imported itself, so it imports neither DSPy nor what needs it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlflow.data.dataset_source import DatasetSource

if TYPE_CHECKING:
    import dspy

_FORMAT = 1


class DspyDatasetSource(DatasetSource):
    """The source of examples that were logged with `mlflow.log_input(mlflow.data.from_dspy(examples))`.

    `mlflow.data.get_source(run.inputs.dataset_inputs[0])` gives it.

    Args:
        uri: Where the rows are: "runs:/<run id>/datasets/<file>", one row of JSON a line.
        format: The version of the form of the rows.
    """

    def __init__(self, uri: str, format: int = _FORMAT):
        self._uri, self._format = uri, format

    @property
    def uri(self) -> str:
        """Where the rows are."""
        return self._uri

    def load(self, **kwargs: Any) -> "list[dspy.Example]":
        """The examples as they were logged, from the tracking store that is set now.

        Raises:
            DatasetError: If the rows are damaged, of a newer version, or not there.
        """
        return list(self.examples())

    def examples(self) -> "Iterator[dspy.Example]":
        """The same one by one, as many as there may be: the file is read line by line.

        Raises:
            DatasetError: If the rows are damaged, of a newer version, or not there.
        """
        from mlflow_dspy_plugin.errors import DatasetError
        from mlflow_dspy_plugin.genai.row_files import downloaded

        if self._format > _FORMAT:
            raise DatasetError(
                f"The rows in {self._uri} are of version {self._format}, and this package reads up to {_FORMAT}. "
                "Upgrade it: pip install -U mlflow-dspy-plugin"
            )
        return downloaded(self._uri)

    def to_dict(self) -> dict[str, Any]:
        """What MLflow stores of it."""
        return {"uri": self._uri, "format": self._format}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> "DspyDatasetSource":
        """The source of what MLflow has stored."""
        return cls(source_dict["uri"], source_dict.get("format", _FORMAT))

    @staticmethod
    def _get_source_type() -> str:
        return "dspy"

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        # A path or URI alone does not say that examples are there.
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> "DspyDatasetSource":
        raise NotImplementedError

"""Files of rows, one a line, written and read one by one: there may be more than memory holds."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import mlflow
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.errors import DatasetError
from mlflow_dspy_plugin.genai.rows import Row, example_of


def written_row(row: Row) -> bytes:
    """The line of a row."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"


def examples_in(path: Path, name: str) -> Iterator[dspy.Example]:
    """The examples of a file.

    Args:
        path: The file.
        name: What errors call it.

    Raises:
        DatasetError: If a line is damaged.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"Row {number:,} of {name}"
            yield example_of(_parsed(line, where), where)


def downloaded(uri: str) -> Iterator[dspy.Example]:
    """The examples of a file among the artifacts of a run; it is on disk as long as they are read.

    Raises:
        DatasetError: If the file cannot be had, or a line is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="mlflow-dspy-rows-") as folder:
        yield from examples_in(_download(uri, folder), uri)


def _download(uri: str, folder: str) -> Path:
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
    except MlflowException as error:
        elsewhere = re.sub("^runs:/[^/]*", "runs:/<its id>", uri)
        raise DatasetError(
            f"The rows of the dataset cannot be had from {uri} ({error.message}). If that run is gone: to MLflow a "
            "dataset of the same name and digest is the same as an earlier one of its experiment, with the earlier "
            f"one's source. A later run has its own rows: DspyDatasetSource({elsewhere!r}).load()"
        ) from error


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{where} is damaged: {str(error) or type(error).__name__}. Log the dataset again."
        ) from error

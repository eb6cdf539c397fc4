"""The rows of a run's evaluation, out of whichever of its artifacts has them."""

import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_dspy_plugin.errors import ComparisonError
from mlflow_dspy_plugin.names import OPTIMIZATION_FILE, RESULT_TABLE_FILE, ROWS_FILE
from mlflow_dspy_plugin.tracking.pairs import Row, digest_of

# What stores say of an id that no run has, or that none can have.
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@dataclass(frozen=True)
class RunRows:
    """The rows of one run.

    Attributes:
        run_id: The id of the run.
        name: Its name, as the user knows it.
        rows: One an example.
        file: The artifact that has them.
        by_fields: Whether a row's id is the digest of its fields, and not the one that it was written with.
    """

    run_id: str
    name: str
    rows: tuple[Row, ...]
    file: str
    by_fields: bool = False

    def identified_by_fields(self) -> "RunRows":
        """The same rows, told apart by their fields alone."""
        if self.by_fields:
            return self
        rows = tuple({**row, "id": _id_by_fields(row)} for row in self.rows)
        return replace(self, rows=rows, by_fields=True)


def rows_of(run: str | Run, client: MlflowClient) -> RunRows:
    """The rows of a run of an evaluation or of a compile.

    Raises:
        ComparisonError: The run is unknown, or has no rows.
    """
    found = _run(run, client)
    run_id, name = found.info.run_id, found.info.run_name or found.info.run_id
    present = {file.path for file in client.list_artifacts(run_id)}
    for kind, read in _READERS.items():
        file = _last_of(kind, present)
        rows = _read(run_id, file, read, client) if file is not None else ()
        if rows:
            return RunRows(run_id, name, rows, file, by_fields=kind == RESULT_TABLE_FILE)
    raise ComparisonError(
        f"The run {run_id} ({name}) has no rows to compare: none of {', '.join(_READERS)} is there with rows in it; it "
        f"has {', '.join(sorted(present)) or 'no artifacts'}. Give the run of a dspy.Evaluate, or of a compile whose "
        "best candidate was fully evaluated, recorded with mlflow.dspy.autolog(log_evals=True, log_compiles=True)."
    )


def _last_of(kind: str, present: Collection[str]) -> str | None:
    """The file of a kind that is there; of several evaluations in one run that of the last."""
    stem, _, ending = kind.partition(".")
    numbers = {file: re.fullmatch(rf"{stem}(?:_(\d+))?\.{ending}", file) for file in present}
    return max((file for file in present if numbers[file]), key=lambda file: int(numbers[file][1] or 0), default=None)


def _run(run: Any, client: MlflowClient) -> Run:
    run_id = run.info.run_id if isinstance(run, Run) else run
    if not isinstance(run_id, str) or not run_id:
        raise ComparisonError(f"A run is its id or an mlflow.entities.Run, not {run!r}. Give one of these.")
    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in _UNKNOWN:
            raise
        raise ComparisonError(
            f"There is no run {run_id!r} in the tracking store {client.tracking_uri}. Look for its id in the MLflow UI "
            "or with mlflow.search_runs(), and give the tracking_uri of its store if that is another."
        ) from error


def _read(run_id: str, file: str, read: Callable[[Any], Iterable[Row]], client: MlflowClient) -> tuple[Row, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run_id, file, folder)
        text = Path(path).read_bytes()
    try:
        return tuple(read(json.loads(text)))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ComparisonError(
            f"The artifact {file} of the run {run_id} is damaged ({type(error).__name__}: {error}). Compare with "
            "another run, or record this evaluation again."
        ) from error


def _evaluated(written: Any) -> Iterator[Row]:
    yield from (row for row in written if isinstance(row, Mapping))


def _compiled(written: Any) -> Iterator[Row]:
    yield from _evaluated((written.get("rows") or {}).get("best") or [])


def _tabled(written: Any) -> Iterator[Row]:
    """The rows of MLflow's own table. It does not say what is an input: here, all that is not predicted."""
    for cells in written["data"]:
        row = dict(zip(written["columns"], cells, strict=True))
        example, prediction = _prefixed(row, "example_"), _prefixed(row, "pred_")
        yield {
            "id": digest_of(example),
            "inputs": {name: value for name, value in example.items() if name not in prediction},
            "expected": {name: value for name, value in example.items() if name in prediction},
            "prediction": prediction,
            "score": row.get("score"),
        }


def _prefixed(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _id_by_fields(row: Row) -> str:
    return digest_of({**(row.get("inputs") or {}), **(row.get("expected") or {})})


# The artifacts that hold rows, the fullest first.
_READERS: dict[str, Callable[[Any], Iterable[Row]]] = {
    ROWS_FILE: _evaluated,
    OPTIMIZATION_FILE: _compiled,
    RESULT_TABLE_FILE: _tabled,
}

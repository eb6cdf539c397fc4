"""Examples as a dataset of MLflow's, whose rows go to a run as an artifact."""

import functools
import json
import os
import re
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dspy
import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.data.dataset_source import DatasetSource
from mlflow.data.evaluation_dataset import EvaluationDataset
from mlflow.data.pyfunc_dataset_mixin import PyFuncConvertibleDatasetMixin, PyFuncInputsOutputs
from mlflow.types import Schema

from mlflow_dspy_plugin.boundary import warn
from mlflow_dspy_plugin.errors import DatasetError, SecretError
from mlflow_dspy_plugin.genai.columns import Columns
from mlflow_dspy_plugin.genai.dataset_source import DspyDatasetSource
from mlflow_dspy_plugin.genai.row_files import examples_in, written_row
from mlflow_dspy_plugin.genai.rows import EXPECTATIONS, INPUTS, Row, input_keys_of, row_of
from mlflow_dspy_plugin.redaction import environment_secrets
from mlflow_dspy_plugin.tracking.datasets import LONGEST_NAME, Digest

FOLDER = "datasets"
RAISE, SKIP = "raise", "skip"
# MLflow's store takes up to 36. That of a dataset which an optimizer or an evaluation has logged is its beginning:
# one digest for both would have MLflow take the second for the first, which has no rows.
_DIGEST_CHARACTERS = 32
_LONGEST_DIGEST = 36
_LONGEST_FILE_NAME = 100


class DspyDataset(Dataset, PyFuncConvertibleDatasetMixin):
    """Examples as `mlflow.data.from_dspy` makes a dataset of them.

    They are read once, one by one, and written to a file on this machine; what is logged later is what they were then.

    Args:
        examples: Objects of `dspy.Example`, in a list or in anything that can be iterated.
        name: The name of the dataset, up to 500 characters.
        digest: A digest of your own, up to 36 characters.
        on_error: "raise", or "skip" to leave out and count the examples that cannot be written.

    Raises:
        DatasetError: If an example is none, or cannot be written; it says which, and why.
        SecretError: If a text in an example looks like a secret.
    """

    def __init__(
        self,
        examples: Iterable[dspy.Example],
        name: str | None = None,
        digest: str | None = None,
        on_error: str = RAISE,
    ):
        _check(examples, name, digest, on_error)
        self._given = examples if isinstance(examples, Sequence) else None
        self._columns, self._keys, self._counts = Columns(), Counter[str](), Counter[str]()
        folder = Path(tempfile.mkdtemp(prefix="mlflow-dspy-dataset-"))
        weakref.finalize(self, _remove, folder, os.getpid())
        self._file, self._hash, self._logged_to = folder / "rows.jsonl", Digest(), ""
        self._write(examples, on_error)
        super().__init__(CodeDatasetSource({"mlflow.source.name": "dspy"}), name, digest)

    # -- what MLflow asks of a dataset --------------------------------------------------------

    @property
    def source(self) -> DatasetSource:
        """Where the rows are: among the artifacts of the run that it was logged to last."""
        return self._source

    @functools.cached_property
    def schema(self) -> Schema | None:
        """The fields and their types; required are those that every example has."""
        return self._columns.schema()

    @property
    def profile(self) -> dict[str, Any]:
        """How many rows there are, which fields are inputs, and what was left out."""
        told = {
            "num_rows": self._columns.rows,
            "input_keys": [name for name in self._columns.names if self._keys[name]],
        }
        counted = {"num_fields_beyond_schema": self._columns.uncounted, **self._counts}
        return told | {name: count for name, count in counted.items() if count}

    def to_dict(self) -> dict[str, str]:
        """What MLflow stores of it."""
        schema = json.dumps({"mlflow_colspec": self.schema.to_dict()}) if self.schema else None
        return {**super().to_dict(), "schema": schema, "profile": json.dumps(self.profile)}

    def _compute_digest(self) -> str:
        return self._hash.text(_DIGEST_CHARACTERS)

    def _to_mlflow_entity(self) -> Any:
        # `mlflow.log_input` and `mlflow.models.evaluate` come here, in the run that they log to.
        if (run := mlflow.active_run()) is not None:
            self.log_rows(run.info.run_id)
        return super()._to_mlflow_entity()

    # -- its rows ------------------------------------------------------------------------------

    @property
    def examples(self) -> Sequence[dspy.Example]:
        """The examples: those that were given, or read again where these could be read only once."""
        return list(self) if self._given is None else self._given

    def __len__(self) -> int:
        return self._columns.rows

    def __bool__(self) -> bool:
        # `mlflow.log_input` takes what is false for no dataset, and says nothing.
        return True

    def __iter__(self) -> Iterator[dspy.Example]:
        """The examples as they were written, one by one."""
        # Not handed on: as long as it is read, the dataset lives, and so does its file.
        yield from examples_in(self._file, self.name)

    def log_rows(self, run_id: str) -> None:
        """Write the rows to a run, unless they are there, and have `source` point at them.

        `mlflow.log_input` does it; `MlflowClient.log_inputs`, which knows of no active run, needs it before.
        """
        if self._logged_to != run_id:
            name = f"{_in_file_name(self.name)}-{_in_file_name(self.digest)}.jsonl"
            path = self._file.with_name(name)
            if not path.exists():
                path.hardlink_to(self._file)
            mlflow.MlflowClient().log_artifact(run_id, str(path), FOLDER)
            self._source, self._logged_to = DspyDatasetSource(f"runs:/{run_id}/{FOLDER}/{name}"), run_id

    # -- for mlflow.models.evaluate ------------------------------------------------------------

    @property
    def df(self) -> pd.DataFrame:
        """The examples as a table, a column a field."""
        return pd.DataFrame([dict(example.items()) for example in self])

    @property
    def targets(self) -> str | None:
        """The one field that is no input; None if there are several, or none."""
        labels = [name for name in self._columns.names if not self._keys[name]]
        return labels[0] if len(labels) == 1 else None

    @property
    def predictions(self) -> None:
        """The column of predictions, which examples have not."""

    def to_pyfunc(self) -> PyFuncInputsOutputs:
        """The inputs and the targets as tables."""
        table, targets = self.df, self.targets
        return PyFuncInputsOutputs(table) if targets is None else PyFuncInputsOutputs(*_apart(table, targets))

    def to_evaluation_dataset(self, path: str | None = None, feature_names: list[str] | None = None) -> Any:
        """As MLflow's evaluators want it."""
        options = {"path": path, "feature_names": feature_names, "name": self.name, "digest": self.digest}
        return EvaluationDataset(data=self.df, targets=self.targets, **options)

    # -- being written -------------------------------------------------------------------------

    def _write(self, examples: Iterable[Any], on_error: str) -> None:
        secrets = environment_secrets().values()
        with self._file.open("wb") as file:
            for number, example in enumerate(examples, 1):
                try:
                    row = row_of(example, f"Example {number:,}", secrets)
                except (DatasetError, SecretError) as error:
                    if on_error == RAISE:
                        raise
                    self._counts["num_skipped"] += 1
                    if self._counts["num_skipped"] == 1:
                        warn("Left out, and what is like it is counted in the profile: %s", error)
                    continue
                file.write(written_row(row))
                self._count(example, row)

    def _count(self, example: dspy.Example, row: Row) -> None:
        fields, keys = dict(example.items()), input_keys_of(example)
        # What is written tells all of a value; what runs tell of an object, on which their digest stands, may not.
        self._hash.add_fields({**row[INPUTS], **row[EXPECTATIONS]}, keys)
        self._columns.add(fields)
        self._keys.update(name for name in keys or () if name in fields and name in self._columns)
        if not keys:
            self._counts["num_without_inputs"] += 1


def _remove(folder: Path, owner: int) -> None:
    # A child process, which has inherited the dataset, ends before its parent does.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _apart(table: pd.DataFrame, targets: str) -> tuple[pd.DataFrame, pd.Series]:
    return table.drop(columns=[targets]), table[targets]


def _check(examples: Any, name: Any, digest: Any, on_error: Any) -> None:
    problems = (
        (
            not isinstance(examples, Iterable) or isinstance(examples, (str, bytes, dict, dspy.Example)),
            f"from_dspy takes examples, as a list of dspy.Example, and not a {type(examples).__name__}.",
        ),
        (
            name is not None and not (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME),
            f"The name of a dataset is a text of 1 to {LONGEST_NAME} characters, and not {name!r:.80}.",
        ),
        (
            digest is not None and not (isinstance(digest, str) and 0 < len(digest) <= _LONGEST_DIGEST),
            f"A digest is a text of 1 to {_LONGEST_DIGEST} characters, and not {digest!r:.80}.",
        ),
        (on_error not in (RAISE, SKIP), f"on_error is {RAISE!r} or {SKIP!r}, and not {on_error!r:.80}."),
    )
    for is_wrong, told in problems:
        if is_wrong:
            raise DatasetError(told)


def _in_file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)[:_LONGEST_FILE_NAME]

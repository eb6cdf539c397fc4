"""Examples <-> the records of `mlflow.genai.datasets`, which `mlflow.genai.evaluate` takes too."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import DatasetError
from mlflow_dspy_plugin.genai.rows import EXPECTATIONS, INPUTS, example_of, row_of
from mlflow_dspy_plugin.redaction import environment_secrets


def examples_to_records(examples: Iterable[dspy.Example]) -> list[dict[str, Any]]:
    """Make records of examples, for `dataset.merge_records(records)` or `mlflow.genai.evaluate(data=records)`.

    The inputs of an example are the `inputs` of its record, the other fields are its `expectations`. What is no JSON
    (images, dates, pydantic objects) stands there as `{"$": kind, ...}`, which `examples_from_records` reads. What DSPy
    keeps under names that begin with `dspy_` is left out. MLflow keeps one record for each set of inputs.

    Args:
        examples: Objects of `dspy.Example` whose inputs are known (`with_inputs`).

    Returns:
        A record for each, in the same order: `{"inputs": {...}, "expectations": {...}}`.

    Raises:
        DatasetError: If one is no example, has no inputs, or holds what cannot be written; it says which.
        SecretError: If a text in an example looks like a secret.
    """
    secrets = environment_secrets().values()
    return [_record_of(example, f"Example {number:,}", secrets) for number, example in enumerate(examples, 1)]


def examples_from_records(records: Any) -> list[dspy.Example]:
    """Make examples of records: their inputs are inputs, their expectations are the other fields.

    Args:
        records: What `mlflow.genai.datasets.get_dataset` gives, its records, a table of them, or a list of dicts with
            "inputs" and "expectations".

    Returns:
        An example for each, in the same order.

    Raises:
        DatasetError: If one has no inputs, or a field both as input and as expectation; it says which.
    """
    return [example_of(_fields_of(record), f"Record {number:,}") for number, record in enumerate(_listed(records), 1)]


def _record_of(example: Any, where: str, secrets: Collection[str]) -> dict[str, Any]:
    row = row_of(example, where, secrets)
    if not row[INPUTS]:
        raise DatasetError(f"{where} has no inputs, which a record needs. Say which they are: with_inputs('question').")
    return {INPUTS: row[INPUTS], EXPECTATIONS: row[EXPECTATIONS]}


def _listed(records: Any) -> Iterable[Any]:
    if hasattr(records, "to_df"):
        # A dataset; some keep their records elsewhere and have them as a table alone.
        records = records.to_df()
    if hasattr(records, "to_dict") and hasattr(records, "columns"):
        return records.to_dict("records")
    if isinstance(records, Iterable) and not isinstance(records, (str, bytes, Mapping)):
        return records
    raise DatasetError(
        f"Records are a dataset of mlflow.genai.datasets, or a list of dicts with {INPUTS!r} and {EXPECTATIONS!r}, and "
        f"not a {type(records).__name__}."
    )


def _fields_of(record: Any) -> dict[str, Any]:
    """The two parts of a record: a dict, or MLflow's `DatasetRecord`."""
    parts = record if isinstance(record, Mapping) else vars(record) if hasattr(record, INPUTS) else {}
    found = {name: parts.get(name) for name in (INPUTS, EXPECTATIONS)}
    # A table has a number that is none where a record has nothing.
    return {name: part for name, part in found.items() if isinstance(part, Mapping)}

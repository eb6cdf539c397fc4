"""Examples as inputs of a run, in MLflow's own form of a dataset."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.tracking.plain_values import plain

# What MLflow's store takes for the fields of a dataset.
_LONGEST_NAME = 500
_DIGEST_CHARACTERS = 8
_TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}


def input_of(examples: Sequence[Any], name: str) -> dict[str, str]:
    """Examples as the fields of MLflow's `Dataset`."""
    rows = [plain(example) for example in examples]
    return {
        "name": name[:_LONGEST_NAME],
        "digest": digest_of(rows),
        "source_type": "code",
        "source": json.dumps({"tags": {"mlflow.source.name": "dspy"}}),
        "schema": json.dumps({"mlflow_colspec": _columns(rows)}),
        "profile": json.dumps({"num_rows": len(rows)}),
    }


def digest_of(rows: Sequence[Any]) -> str:
    """The same for equal rows in the same order."""
    told = attempt(lambda: json.dumps(list(rows), sort_keys=True), lambda error: str(len(rows)))
    return hashlib.sha256(told.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _columns(rows: Sequence[Any]) -> list[dict[str, Any]]:
    first = next((row for row in rows if isinstance(row, dict)), {})
    return [
        {"type": _TYPES.get(type(value), "string"), "name": name, "required": True} for name, value in first.items()
    ]

"""Examples as inputs of a run, in MLflow's own form of a dataset."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.tracking.plain_values import plain

# What MLflow's store takes for the fields of a dataset.
LONGEST_NAME = 500
_DIGEST_CHARACTERS = 8
_TYPES = {bool: "boolean", int: "long", float: "double", str: "string"}


class Digest:
    """The digest of examples that come one after the other.

    It is the same for equal examples with the same inputs in the same order, in whatever order their fields are; what
    DSPy keeps under names of its own (`dspy_uuid`, `dspy_split`) is not part of it.
    """

    def __init__(self, examples: Iterable[Any] = ()) -> None:
        self._hash = hashlib.sha256()
        for example in examples:
            self.add(example)

    def add(self, example: Any) -> None:
        """Take the next example."""
        told = attempt(lambda: _identity(example), lambda error: json.dumps(plain(example), sort_keys=True))
        self._update(told)

    def add_fields(self, fields: Mapping[str, Any], input_keys: Iterable[str] | None) -> None:
        """Take the next example, whose fields are plain JSON."""
        self._update(_told(fields, input_keys))

    def text(self, characters: int = _DIGEST_CHARACTERS) -> str:
        """The first characters of it, of which there are up to 64; a longer one of the same examples begins alike."""
        return self._hash.hexdigest()[:characters]

    def _update(self, told: str) -> None:
        self._hash.update(told.encode("utf-8", "surrogatepass") + b"\n")


def input_of(examples: Sequence[Any], name: str) -> dict[str, str]:
    """Examples as the fields of MLflow's `Dataset`."""
    rows = [plain(example) for example in examples]
    return {
        "name": name[:LONGEST_NAME],
        "digest": Digest(examples).text(),
        "source_type": "code",
        "source": json.dumps({"tags": {"mlflow.source.name": "dspy"}}),
        "schema": json.dumps({"mlflow_colspec": _columns(rows)}),
        "profile": json.dumps({"num_rows": len(rows)}),
    }


def _identity(example: Any) -> str:
    """What two equal examples have in common, as text; JSON of objects is what runs tell of them."""
    keys = getattr(example, "_input_keys", None) if isinstance(example, dspy.Example) else None
    fields = dict(example.items()) if isinstance(example, (dspy.Example, Mapping)) else example
    return _told(fields, keys)


def _told(fields: Any, keys: Iterable[str] | None) -> str:
    return json.dumps([fields, None if keys is None else sorted(keys)], sort_keys=True, default=plain)


def _columns(rows: Sequence[Any]) -> list[dict[str, Any]]:
    first = next((row for row in rows if isinstance(row, dict)), {})
    return [
        {"type": _TYPES.get(type(value), "string"), "name": name, "required": True} for name, value in first.items()
    ]

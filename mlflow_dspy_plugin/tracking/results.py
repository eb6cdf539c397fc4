"""The rows of an evaluation that has ended: what each was given, gave, scored and cost."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.seams.optimizers import prediction_in
from mlflow_dspy_plugin.tracking.feedback import feedback_of, value_of
from mlflow_dspy_plugin.tracking.plain_values import plain

_ID_CHARACTERS = 16


@dataclass
class RowContent:
    """What a row is about, as plain JSON.

    Attributes:
        inputs: The fields that the program was given.
        expected: The other fields of the example.
        prediction: What the program gave.
    """

    inputs: dict[str, Any]
    expected: dict[str, Any]
    prediction: Any

    @functools.cached_property
    def id(self) -> str:
        """The same for equal examples, wherever they are."""
        told = json.dumps({**self.inputs, **self.expected}, sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:_ID_CHARACTERS]


@dataclass
class Seen:
    """What was seen of a row while it ran.

    Attributes:
        content: Of a row that will be written, what it is about.
    """

    example: Any = None
    prediction: Any = None
    score: Any = None
    error: str | None = None
    seconds: float = 0.0
    tokens: int = 0
    cost: float | None = None
    trace_id: str | None = None
    content: RowContent | None = None


class Results:
    """The rows of an evaluation that has ended.

    Attributes:
        failures: How many of them raised.
    """

    def __init__(self, results: Sequence[tuple[Any, Any, Any]], seen: Sequence[Seen]) -> None:
        self._results, self._seen = results, seen
        self.failures = sum(each.error is not None for each in seen)

    def __len__(self) -> int:
        return len(self._results)

    @functools.cached_property
    def plain(self) -> list[dict[str, Any]]:
        """As in the record; of most candidates nobody asks, of the best both the evaluation and the record."""
        return [_row(content, score, seen) for content, score, seen in self._told]

    @property
    def table(self) -> list[dict[str, Any]]:
        """As in MLflow's table of results, in its own column names."""
        return [_table_row(content, score) for content, score, _ in self._told]

    @functools.cached_property
    def _told(self) -> list[tuple[RowContent, Any, Seen]]:
        rows = zip(self._results, self._seen, strict=True)
        return [(_content(example, prediction, seen), score, seen) for (example, prediction, score), seen in rows]


def content_of(example: Any, prediction: Any) -> RowContent | None:
    """What a row is about; None where the example cannot be read."""
    return attempt(lambda: _read(example, prediction), lambda error: None)


def inputs_of(example: Any) -> Mapping[str, Any]:
    """The fields of an example that a program is given."""
    keys = getattr(example, "_input_keys", None)
    items = dict(example.items()) if isinstance(example, (dspy.Example, Mapping)) else {"example": example}
    return {name: value for name, value in items.items() if keys is None or name in keys}


def expected_of(example: Any) -> Mapping[str, Any]:
    """The fields of an example that a program is not given."""
    inputs = inputs_of(example)
    items = dict(example.items()) if isinstance(example, (dspy.Example, Mapping)) else {}
    return {name: value for name, value in items.items() if name not in inputs}


def _content(example: Any, prediction: Any, seen: Seen) -> RowContent:
    if seen.content is not None and seen.prediction is prediction:
        return seen.content
    return content_of(example, prediction) or RowContent({}, {}, None)


def _read(example: Any, prediction: Any) -> RowContent:
    prediction = prediction_in(prediction)
    given = dict(prediction.items()) if isinstance(prediction, dspy.Example) else prediction
    return RowContent(_fields(inputs_of(example)), _fields(expected_of(example)), plain(given))


def _fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    told = plain(fields)
    return told if isinstance(told, dict) else {"unreadable": told}


def _row(content: RowContent, score: Any, seen: Seen) -> dict[str, Any]:
    return {
        "id": content.id,
        "inputs": content.inputs,
        "expected": content.expected,
        "prediction": content.prediction,
        "score": value_of(score),
        "feedback": feedback_of(score),
        "error": seen.error,
        "trace_id": seen.trace_id,
        "seconds": round(seen.seconds, 4),
        "tokens": seen.tokens,
        "cost": seen.cost,
    }


def _table_row(content: RowContent, score: Any) -> dict[str, Any]:
    example = {f"example_{name}": value for name, value in {**content.inputs, **content.expected}.items()}
    given = content.prediction if isinstance(content.prediction, dict) else {}
    return {"score": plain(score), **example, **{f"pred_{name}": value for name, value in given.items()}}

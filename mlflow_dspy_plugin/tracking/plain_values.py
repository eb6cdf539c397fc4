"""What is said of the user's objects: plain JSON without secrets, whatever they are."""

import json
import math
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.redaction import REDACTED, is_secret_name, redact_text

_DEEPEST = 12
_LONGEST_TEXT = 200_000


def plain(value: Any, depth: int = 0) -> Any:
    """A value as plain JSON; what cannot be read is a placeholder."""
    return attempt(lambda: _plain(value, depth), lambda error: f"<unreadable: {type(error).__name__}>")


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, str):
        return text(value)
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, dspy.Example):
        value = dict(value.items())
    if isinstance(value, Mapping):
        return {str(key): _named(str(key), each, depth) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each, depth + 1) for each in value]
    if callable(item := getattr(value, "item", None)) and getattr(value, "shape", None) == ():
        # A number of numpy's.
        return plain(item(), depth + 1)
    if callable(dump := getattr(value, "model_dump", None)) and not isinstance(value, type):
        return plain(dump(mode="json"), depth + 1)
    return text(str(value))


def _named(name: str, value: Any, depth: int) -> Any:
    return REDACTED if is_secret_name(name) and value is not None else plain(value, depth + 1)


def _number(value: float) -> Any:
    if isinstance(value, int):
        return int(value)
    return float(value) if math.isfinite(value) else None


def text(value: str) -> str:
    """A text without secrets, that can be stored."""
    value = str(value)
    if len(value) > _LONGEST_TEXT:
        value = f"{value[:_LONGEST_TEXT]} ... [{len(value) - _LONGEST_TEXT:,} more]"
    return redact_text(value).encode("utf-8", "backslashreplace").decode()


def number(value: Any) -> float | None:
    """A score as a number; None where it is none, and for what is not finite."""
    return attempt(lambda: _score(value), lambda error: None)


def _score(value: Any) -> float | None:
    if value is None:
        return None
    found = float(value)
    return found if math.isfinite(found) else None


def as_json(value: Any) -> str:
    """Plain JSON as text."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

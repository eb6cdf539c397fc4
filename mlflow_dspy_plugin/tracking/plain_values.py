"""What is said of the user's objects in runs: plain JSON without secrets, whatever they are."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.redaction import environment_secrets
from mlflow_dspy_plugin.tracing.content import Content, TraceContent
from mlflow_dspy_plugin.tracing.known_secrets import keys_of
from mlflow_dspy_plugin.tracing.outline import outlined
from mlflow_dspy_plugin.tracing.values import Bytes, Reading

_LONGEST_TEXT = 200_000
# What the user wants out of sight, and the secrets that were met.
_words: TraceContent = Content().of_trace()


def use_words_of(content: Content) -> Callable[[], None]:
    """Have runs say no more than traces may say in texts; they hold content in any case.

    Returns:
        What undoes it.
    """
    _use(content)
    return lambda: _use(Content())


def _use(content: Content) -> None:
    global _words
    _words = content.of_trace()


def learn_secrets_of(client: Any) -> None:
    """Know the keys of a language model, wherever a text repeats them."""
    _words.learn(keys_of(client))


def learn_secrets_of_environment() -> None:
    """Know the secrets of the environment, wherever a text repeats them."""
    _words.learn(environment_secrets())


class _ReadingForRuns(Reading):
    """Reads what traces show as a text, too: numbers of numpy's, and sets."""

    def read(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        elif isinstance(value, (set, frozenset)):
            # In an order that is the same in every process.
            value = sorted(value, key=repr)
        return super().read(value)


def plain(value: Any) -> Any:
    """A value as plain JSON; of what cannot be read, that."""
    return attempt(lambda: _plain(value), lambda error: f"<unreadable: {type(error).__name__}>")


def _plain(value: Any) -> Any:
    reading = _ReadingForRuns()
    data = reading.read(value)
    if reading.secrets:
        _words.learn({"secret": reading.secrets})
    return _told(data)


def _told(data: Any) -> Any:
    if isinstance(data, str):
        return text(data)
    if isinstance(data, dict):
        return {text(name): _told(each) for name, each in data.items()}
    if isinstance(data, list):
        return [_told(each) for each in data]
    return f"<{len(data.data):,} bytes>" if isinstance(data, Bytes) else data


def text(value: Any) -> str:
    """A text without secrets, that can be stored."""
    told = attempt(lambda: str(value), lambda error: f"<unreadable: {type(error).__name__}>")
    if len(told) > _LONGEST_TEXT:
        # A half of a key is not known for one.
        kept = told[:_LONGEST_TEXT].rsplit(None, 1)[0]
        told = f"{kept} ... [{len(told) - len(kept):,} more]"
    return _words.cleaned(told)


def for_traces(value: Any) -> Any:
    """A value as plain JSON, as far as the user wants traces to hold content."""
    told = plain(value)
    return told if _words.captures else outlined(told)


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

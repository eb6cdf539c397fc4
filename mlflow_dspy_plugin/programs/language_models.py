"""The language models that a program or DSPy's settings hold, and where."""

from collections.abc import Iterator
from typing import Any

import dspy

# What DSPy's objects remember of past calls, and examples: no language model is in them.
_SKIPPED = {"callbacks", "demos", "history", "traces"}


def language_models(value: Any, where: str) -> Iterator[tuple[str, dspy.BaseLM]]:
    """Find each language model in modules, adapters and plain containers, with every place it stands at.

    Args:
        value: A program, the settings, or anything that they hold.
        where: What the place of the value is called; those of the rest begin with it.

    Yields:
        Places such as "program.rewrite.lm", and the language models there.
    """
    yield from _walk(value, where, set())


def _walk(value: Any, where: str, seen: set[int]) -> Iterator[tuple[str, dspy.BaseLM]]:
    if isinstance(value, dspy.BaseLM):
        yield where, value
        return
    held = _held_by(value)
    if held is None or id(value) in seen:
        return
    seen.add(id(value))
    for name, item in held:
        if name not in _SKIPPED:
            yield from _walk(item, f"{where}.{name}", seen)


def _held_by(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, (dspy.Module, dspy.Adapter)):
        return list(vars(value).items())
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else None

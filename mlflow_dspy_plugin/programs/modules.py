"""The modules that a program is made of, found without looking at what it remembers of past calls."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import dspy

from mlflow_dspy_plugin.programs.language_models import REMEMBERED

# A longer list or dict is data: it is not looked through whenever the program is called.
_LONGEST = 1_000


def modules_of(program: dspy.Module) -> list[dspy.Module]:
    """A program and the modules in its attributes, and in theirs, each once."""
    found, waiting, seen = [], deque([program]), {id(program)}
    while waiting:
        value = waiting.popleft()
        if isinstance(value, dspy.Module):
            found.append(value)
        for _, item in held_by(value):
            if id(item) not in seen:
                seen.add(id(item))
                waiting.append(item)
    return found


def held_by(value: Any) -> Iterator[tuple[Any, Any]]:
    """What modules may stand in: the attributes of a module, the items of a list, tuple or dict. Names and values."""
    if isinstance(value, dspy.Module):
        yield from ((name, item) for name, item in vars(value).items() if name not in REMEMBERED)
    elif isinstance(value, (list, tuple)) and len(value) <= _LONGEST:
        yield from enumerate(value)
    elif isinstance(value, dict) and len(value) <= _LONGEST:
        yield from value.items()

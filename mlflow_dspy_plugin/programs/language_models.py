"""The language models that a program or DSPy's settings hold, and where."""

import weakref
from collections.abc import Iterator
from types import MethodType
from typing import Any

import dspy

# What DSPy's objects remember of past calls, and examples: no language model is in them.
REMEMBERED = {"callbacks", "demos", "history", "traces"}


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
        if name not in REMEMBERED:
            yield from _walk(item, f"{where}.{name}", seen)


def _held_by(value: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(value, (dspy.Module, dspy.Adapter)):
        return list(vars(value).items())
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else None


def module_of_method(value: Any) -> dspy.Module | None:
    """The module whose method this is, as itself or as a tool; None for anything else."""
    method = value.func if isinstance(value, dspy.Tool) else value
    is_of_module = isinstance(method, MethodType) and isinstance(method.__self__, dspy.Module)
    return method.__self__ if is_of_module else None


def containers_of_modules(program: dspy.Module) -> dict[int, Any]:
    """The lists, tuples and dicts below a program that modules, their methods or language models are in, by id.

    Its modules are there too, by weak references: who keeps this keeps no program.
    """
    found: dict[int, Any] = {}
    seen: set[int] = set()

    def holds(value: Any) -> bool:
        """Whether it is, or has in it, a module or a language model."""
        if id(value) in seen:
            return isinstance(value, dspy.Module) or id(value) in found
        if isinstance(value, dspy.BaseLM) or (held := _held_by(value)) is None:
            return isinstance(value, dspy.BaseLM) or module_of_method(value) is not None
        seen.add(id(value))
        # Each is looked at, not only up to the first that holds one.
        has_some = sum(holds(item) for name, item in held if name not in REMEMBERED) > 0
        if isinstance(value, dspy.Module):
            found[id(value)] = weakref.ref(value)
            return True
        if has_some:
            found[id(value)] = value
        return has_some

    holds(program)
    return found

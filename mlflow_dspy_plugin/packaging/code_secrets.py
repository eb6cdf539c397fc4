"""Refuses secrets in code that travels by value: there is no way to leave them out of it."""

import ast
import contextlib
import inspect
import itertools
import sys
import textwrap
from collections.abc import Iterator
from enum import Enum
from types import CodeType, FunctionType
from typing import Any

import dspy
import pydantic

from mlflow_dspy_plugin.errors import SecretError
from mlflow_dspy_plugin.packaging.scrubber import Scrubber
from mlflow_dspy_plugin.redaction import is_distinctive, secret_texts


def travels_by_value(code: type | FunctionType) -> bool:
    """Whether cloudpickle sends the code itself, since it cannot be imported by name."""
    if code.__module__ == "__main__":
        return True
    found: Any = sys.modules.get(code.__module__)
    for name in code.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is not code


def refuse_secrets(code: type | FunctionType) -> None:
    """Refuse a class or function that carries a secret with it.

    Raises:
        SecretError: Naming the code and the variable, never the value.
    """
    # The members of an enum are labels, and one may well be called TOKEN.
    named = not (isinstance(code, type) and issubclass(code, Enum))
    carried = _of_class(code) if isinstance(code, type) else _of_function(code)
    for name, value in itertools.chain(carried, _named_in_source(code)):
        scrubber = Scrubber()
        scrubber.scrub_attribute(value, name, "", named)
        if scrubber.left_out:
            place = min(scrubber.left_out).lstrip(".")
            raise SecretError(
                f"{code.__module__}.{code.__qualname__} carries a secret in its code (in {place}), "
                "which would be saved with the program. Nothing was saved. Read it from the "
                "environment where it is used."
            )


def refuse_secret(value: Any, name: str, what: str) -> None:
    """Refuse a value that goes with code under a name, if it is or holds a secret.

    Raises:
        SecretError: Naming what it is, never the value.
    """
    scrubber = Scrubber()
    scrubber.scrub_attribute(value, name, "")
    if scrubber.left_out:
        raise SecretError(
            f"{what} is or holds a secret (in {min(scrubber.left_out).lstrip('.')}), which would be saved with the "
            "program's code. Nothing was saved. Read it from the environment where it is used."
        )


def refuse_secrets_in_source(text: str, what: str) -> None:
    """Refuse source that holds what looks like a secret, or gives one to a name that says so.

    Args:
        text: Python source, or any other text.
        what: What it is, for the error.

    Raises:
        SecretError: Naming what it is, never the value.
    """
    # In code, `user:{password}@host` names a variable.
    formed = any("{" not in found for found in secret_texts(text))
    if formed or any(_is_secret(name, value) for name, value in _named_in(text)):
        raise SecretError(
            f"{what} holds a text that looks like a secret, and would be saved with the program. Nothing was saved. "
            "Read it from the environment where it is used."
        )


def _is_secret(name: str, value: str) -> bool:
    scrubber = Scrubber()
    scrubber.scrub_attribute(value, name, "")
    return bool(scrubber.left_out)


def _of_class(cls: type) -> Iterator[tuple[str, Any]]:
    """The variables of a class; those with dunder names are Python's and pydantic's."""
    for name, value in vars(cls).items():
        if name == "__doc__" or not name.startswith("__"):
            yield name, value
    if issubclass(cls, pydantic.BaseModel) and not issubclass(cls, dspy.Signature):
        for name, field in cls.model_fields.items():
            # A short default is rather a label.
            if isinstance(field.default, str) and is_distinctive(field.default):
                yield name, field.default


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What travels with a function: globals, closure, defaults, attributes, constants."""
    code = function.__code__
    for name in sorted(global_names(code) & function.__globals__.keys()):
        yield name, function.__globals__[name]
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            # An empty cell: its variable is not yet bound.
            continue
    defaults = function.__defaults__ or ()
    positional = code.co_varnames[: code.co_argcount]
    yield from zip(positional[len(positional) - len(defaults) :], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()
    yield from vars(function).items()
    yield "its constants", _constants(code)


def _named_in_source(code: type | FunctionType) -> Iterator[tuple[str, str]]:
    """Texts that the source gives to a name, as in `dspy.LM(model, api_key="...")`; short ones are rather labels."""
    if code.__module__.split(".")[0] == "dspy":
        # A signature made of a text: DSPy's file would be searched for it, which takes long.
        return
    with contextlib.suppress(OSError, TypeError):
        # Of code that was typed in, or made, there is no source to look at.
        text = textwrap.dedent(inspect.getsource(code))
        # For a class of a model's source, Python 3.13 takes whatever stands in its line of the script that runs.
        if isinstance(code, FunctionType) or f"class {code.__name__}" in text:
            yield from _named_in(text)


def _named_in(text: str) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    for name, value in itertools.chain.from_iterable(map(_named_values, ast.walk(tree))):
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and is_distinctive(value.value):
            yield name, value.value


def _named_values(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """The values that one piece of source gives to names: an argument, a variable, the keys of a dict."""
    if isinstance(node, ast.keyword) and node.arg:
        return [(node.arg, node.value)]
    if isinstance(node, ast.Assign):
        return [(getattr(t, "id", None) or getattr(t, "attr", ""), node.value) for t in node.targets]
    if isinstance(node, ast.Dict):
        keys = [str(key.value) if isinstance(key, ast.Constant) else "" for key in node.keys]
        return list(zip(keys, node.values, strict=True))
    return []


def all_code(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of the functions inside of it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_code(constant)


def global_names(code: CodeType) -> set[str]:
    """The names that a function may read from its module (those of attributes among them)."""
    return {name for inner in all_code(code) for name in inner.co_names}


def _constants(code: CodeType) -> list[Any]:
    constants = (constant for inner in all_code(code) for constant in inner.co_consts)
    return [constant for constant in constants if not isinstance(constant, CodeType)]

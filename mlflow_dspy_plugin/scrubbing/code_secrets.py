"""Refuses secrets in code that travels: there is no way to leave them out of it."""

import ast
import contextlib
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from enum import Enum
from types import CodeType, FunctionType
from typing import Any

import dspy
import pydantic

from mlflow_dspy_plugin.errors import SecretError
from mlflow_dspy_plugin.redaction import (
    environment_secrets,
    is_distinctive,
    is_placeholder,
    is_secret_name,
    is_written_in,
    secret_texts,
)
from mlflow_dspy_plugin.scrubbing.scrubber import Scrubber

# Functions and methods that take the name of a variable and its value.
_OF_ENVIRONMENT = {"get", "getenv", "setdefault", "setenv"}
# `# api_key = "..."`
_IN_COMMENT = re.compile(r"#.*?\b([\w.-]+)[\"']?\]?\s*[:=]\s*[\"'](\S+)[\"']")


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
    refuse_secret_values(
        itertools.chain(carried, _named_in_source(code)), f"{code.__module__}.{code.__qualname__}", named
    )


def refuse_secret_values(values: Iterable[tuple[str, Any]], what: str, named: bool = True) -> None:
    """Refuse values that code carries with it, by their names.

    Args:
        values: The names and the values.
        what: The code, for the error.
        named: Whether the names tell what is secret.

    Raises:
        SecretError: Naming the code and the variable, never the value.
    """
    scrubber = Scrubber()
    for name, value in values:
        # A short text of letters is rather a label, or the default of an argument.
        is_label = isinstance(value, str) and not is_distinctive(value)
        scrubber.scrub_attribute(value, name, "", named and not is_label)
    places = {**{place: variable for variable, place in scrubber.kept.items()}, **scrubber.left_out}
    for place, variable in sorted(places.items()):
        which = f", the value of the environment variable {variable}," if variable else ","
        raise SecretError(
            f"{what} carries a secret in its code (in {place.lstrip('.')}){which} which would be saved with the "
            "program. Nothing was saved. Read it from the environment where it is used."
        )


def refuse_secrets_in_source(text: str, what: str) -> None:
    """Refuse source that holds what looks like a secret, or gives one to a name that says so.

    Args:
        text: Python source, or any other text.
        what: What it is, for the error.

    Raises:
        SecretError: Naming what it is, never the value.
    """
    named = any(is_secret_name(name) for name, _ in itertools.chain(_named_in(text), _named_in_comments(text)))
    refuse_secret_texts(text, what, named)


def refuse_secret_texts(text: str, what: str, named: bool = False) -> None:
    """Refuse a text that holds what looks like a secret, or the value of a secret environment variable.

    Args:
        text: Any text.
        what: What it is, for the error.
        named: Whether a secret was found in it already, by a name.

    Raises:
        SecretError: Naming what it is, never the value.
    """
    data = text.encode(errors="surrogatepass")
    if named or any(secret_texts(text)) or any(is_written_in(data, value) for value in environment_secrets().values()):
        raise SecretError(
            f"{what} holds a text that looks like a secret, and would be saved with the program. Nothing was saved. "
            "Read it from the environment where it is used."
        )


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
    if isinstance(code, type) and issubclass(code, dspy.Signature):
        # It names fields, and does nothing.
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
        text = value.value if isinstance(value, ast.Constant) else None
        text = text.decode(errors="ignore") if isinstance(text, bytes) else text
        if isinstance(text, str) and is_distinctive(text) and not is_placeholder(text):
            yield name, text


def _named_in_comments(text: str) -> Iterator[tuple[str, str]]:
    """The same in code that was commented out."""
    for name, value in _IN_COMMENT.findall(text):
        if is_distinctive(value) and not is_placeholder(value):
            yield name, value


def _named_values(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """The values that one piece of source gives to names: an argument, a default, a variable, the keys of a dict."""
    if isinstance(node, ast.keyword) and node.arg:
        return [(node.arg, node.value)]
    if isinstance(node, ast.Assign):
        return [(_name_of(target), node.value) for target in node.targets]
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        return [(_name_of(node.target), node.value)]
    if isinstance(node, ast.Dict):
        return [(_name_of(key), value) for key, value in zip(node.keys, node.values, strict=True)]
    if isinstance(node, ast.arguments):
        positional, keyword = [*node.posonlyargs, *node.args], zip(node.kwonlyargs, node.kw_defaults, strict=True)
        with_default = [*zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True), *keyword]
        return [(argument.arg, default) for argument, default in with_default if default is not None]
    if isinstance(node, ast.Call) and _name_of(node.func) in _OF_ENVIRONMENT and len(node.args) == 2:
        return [(_name_of(node.args[0]), node.args[1])]
    return []


def _name_of(node: ast.expr | None) -> str:
    """What a variable, an attribute, a key or what stands under a key is called."""
    node = node.slice if isinstance(node, ast.Subscript) else node
    if isinstance(node, ast.Constant):
        return str(node.value)
    return getattr(node, "id", None) or getattr(node, "attr", "")


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

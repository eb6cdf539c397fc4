"""The source of a class or function that cannot be imported, as long as it still is what runs."""

import ast
import dis
import inspect
import linecache
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from mlflow_dspy_plugin.packaging.code_secrets import all_code
from mlflow_dspy_plugin.packaging.plain.nodes import NotPlain

# The attribute by which a class without methods, made of a model's source, knows its namespace and source.
DEFINED_BY = "__mlflow_dspy_definition__"

# `from __future__ import annotations`, as compiled code remembers it.
_FUTURE_ANNOTATIONS = 0x1000000
_FUNCTION_CODE = 0x1
_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF"}


@dataclass(frozen=True)
class Source:
    """The text that defines a class or function, and how it is compiled."""

    text: str
    future_annotations: bool

    def compile(self, filename: str) -> CodeType:
        """The code that defines what the text defines."""
        flags = _FUTURE_ANNOTATIONS if self.future_annotations else 0
        return compile(self.text, filename, "exec", flags=flags, dont_inherit=True)


def is_definition(value: Any) -> bool:
    """Whether a value is a class or function of `__main__`, made at the top level of it."""
    if not isinstance(value, (type, FunctionType)) or value.__module__ != "__main__":
        return False
    return "<" not in value.__qualname__


def source_of(value: Any, where: str) -> Source:
    """The source of a class or function of `__main__`.

    Raises:
        NotPlain: If there is none, or another one than what runs.
    """
    function = next(functions_of(value), None)
    if function is None:
        return _source_without_code(value, where)
    code = function.__code__
    linecache.checkcache(code.co_filename)
    file = "".join(linecache.getlines(code.co_filename, function.__globals__))
    text = _definition_in(file, value.__qualname__, code.co_firstlineno)
    if text is None:
        raise NotPlain(f"{where} is {value.__qualname__}, whose source cannot be had")
    future = bool(code.co_flags & _FUTURE_ANNOTATIONS)
    # The file as a whole: Python makes other code of a call to what the same file imports.
    compiled = list(all_code(Source(file, future).compile(code.co_filename)))
    if not all(any(is_same_code(each, f.__code__) for each in compiled) for f in functions_of(value)):
        raise NotPlain(f"{where} is {value.__qualname__}, whose source has changed since it was run")
    return Source(text, future)


def namespace_of(value: Any, default: dict[str, Any]) -> dict[str, Any]:
    """The names among which a class or function was defined."""
    function = next(functions_of(value), None)
    if function is not None:
        return function.__globals__
    return vars(value)[DEFINED_BY][0] if DEFINED_BY in vars(value) else default


def functions_of(value: Any) -> Iterator[FunctionType]:
    """The functions that a class body defines, or the function itself, without their decorators."""
    if isinstance(value, FunctionType):
        yield inspect.unwrap(value)
        return
    for member in vars(value).values():
        for part in (member, getattr(member, "__func__", None), getattr(member, "fget", None)):
            if isinstance(part, FunctionType) and _is_written_in(inspect.unwrap(part), value):
                yield inspect.unwrap(part)


def names_read(code: CodeType) -> set[str]:
    """The names of the module that the code, and all code in it, may read."""
    return set().union(*map(_names_read_by, all_code(code)))


def names_read_at_definition(code: CodeType) -> set[str]:
    """Those that are read while a definition is made: by bases, decorators, defaults and class bodies."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType) and not c.co_flags & _FUNCTION_CODE]
    return _names_read_by(code).union(*map(names_read_at_definition, inner))


def is_same_code(a: CodeType, b: CodeType) -> bool:
    """Whether two pieces of code do the same, wherever they were read from."""
    if (a.co_name, a.co_code, a.co_names, a.co_varnames) != (b.co_name, b.co_code, b.co_names, b.co_varnames):
        return False
    return len(a.co_consts) == len(b.co_consts) and all(map(_is_same_constant, a.co_consts, b.co_consts))


def _is_same_constant(a: Any, b: Any) -> bool:
    if isinstance(a, CodeType) and isinstance(b, CodeType):
        return is_same_code(a, b)
    return type(a) is type(b) and a == b


def _names_read_by(code: CodeType) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname in _READS}


def _is_written_in(function: FunctionType, cls: type) -> bool:
    """Whether the function has a source: what dataclasses make of text has none and needs none."""
    return function.__code__.co_filename != "<string>" and function.__qualname__.startswith(f"{cls.__qualname__}.")


def _source_without_code(cls: type, where: str) -> Source:
    """The source of a class without methods: there is nothing to compare it with."""
    if DEFINED_BY in vars(cls):
        return vars(cls)[DEFINED_BY][1]
    try:
        return Source(textwrap.dedent(inspect.getsource(cls)), False)
    except (OSError, TypeError):
        raise NotPlain(f"{where} is the class {cls.__qualname__}, whose source cannot be had") from None


def _definition_in(text: str, name: str, line: int) -> str | None:
    """The top-level statement that defines a name and covers a line."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    for statement in statements:
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name == name:
            first = min([statement.lineno, *(decorator.lineno for decorator in statement.decorator_list)])
            if first <= line <= (statement.end_lineno or line):
                return "\n".join(text.splitlines()[first - 1 : statement.end_lineno]) + "\n"
    return None

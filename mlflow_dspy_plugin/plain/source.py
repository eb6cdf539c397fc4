"""The source of a class or function that cannot be imported, as long as it still is what runs."""

import ast
import dis
import inspect
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

from mlflow_dspy_plugin.plain.nodes import NotPlain
from mlflow_dspy_plugin.plain.sameness import functions_of, is_same_code
from mlflow_dspy_plugin.scrubbing.code_secrets import all_code

# The attribute by which a class without methods, made of a model's source, knows its namespace and source.
DEFINED_BY = "__mlflow_dspy_definition__"
# How the source of a model is called in tracebacks.
FILE_OF_SOURCE = "<mlflow-dspy {name} {digest}>"

# `from __future__ import annotations`, as compiled code remembers it.
_FUTURE_ANNOTATIONS = 0x1000000
_FUNCTION_CODE = 0x1
# Code inside of other code that runs as soon as that does.
_AT_ONCE = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}
_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF"}
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


@dataclass(frozen=True)
class Source:
    """The text that defines a class or function, and how it is compiled."""

    text: str
    future_annotations: bool

    def compile(self, filename: str) -> CodeType:
        """The code that defines what the text defines."""
        return _compiled(self.text, filename, self.future_annotations)


def is_definition(value: Any) -> bool:
    """Whether a value is a class or function of `__main__`, made at the top level of it, decorated or not."""
    if not callable(value) or getattr(value, "__module__", None) != "__main__":
        return False
    is_code = isinstance(value, type) or isinstance(inspect.unwrap(value), FunctionType)
    return is_code and "<" not in getattr(value, "__qualname__", "<")


def source_of(value: Any, where: str) -> Source:
    """The source of a class or function of `__main__`.

    Raises:
        NotPlain: If there is none, or another one than what runs.
    """
    function = next(functions_of(value), None)
    if function is None:
        return _source_without_code(value, where)
    code = function.__code__
    text = _text_of(code.co_filename, function.__globals__)
    found = [each for each in _definitions(text, value.__qualname__) if _covers(each, code.co_firstlineno)]
    if not text or not found:
        raise NotPlain(f"{where} is {value.__qualname__}, whose source {_missing(text)}")
    future = bool(code.co_flags & _FUTURE_ANNOTATIONS)
    compiled = list(all_code(_compiled(ast.Module([found[-1]], type_ignores=[]), code.co_filename, future)))
    if not all(any(is_same_code(each, f.__code__) for each in compiled) for f in functions_of(value)):
        raise NotPlain(f"{where} is {value.__qualname__}, whose source has changed since it was run")
    return Source(_segment(text, found[-1]), future)


def namespace_of(value: Any, default: dict[str, Any]) -> dict[str, Any]:
    """The names among which a class or function was defined."""
    function = next(functions_of(value), None)
    if function is not None:
        return function.__globals__
    return vars(value)[DEFINED_BY][0] if DEFINED_BY in vars(value) else default


def names_read(code: CodeType) -> set[str]:
    """The names of the module that the code, and all code in it, may read."""
    return set().union(*map(_names_read_by, all_code(code)))


def names_read_at_definition(code: CodeType) -> set[str]:
    """Those that are read while a definition is made: by bases, decorators, defaults and class bodies."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    at_once = [c for c in inner if not c.co_flags & _FUNCTION_CODE or c.co_name in _AT_ONCE]
    return _names_read_by(code).union(*map(names_read_at_definition, at_once))


def names_in_annotations(text: str) -> set[str]:
    """The names in the annotations of a source, those that are texts among them."""
    nodes = list(ast.walk(ast.parse(text)))
    annotations = [getattr(node, name, None) for node in nodes for name in ("annotation", "returns")]
    waiting = [part for annotation in annotations if annotation is not None for part in ast.walk(annotation)]
    names = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Name):
            names.add(part.id)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            waiting.extend(_parts_of_expression(part.value))
    return names


def _parts_of_expression(text: str) -> list[ast.AST]:
    try:
        return list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError):
        return []


def _compiled(source: Any, filename: str, future_annotations: bool) -> CodeType:
    flags = _FUTURE_ANNOTATIONS if future_annotations else 0
    return compile(source, filename, "exec", flags=flags, dont_inherit=True)


def _names_read_by(code: CodeType) -> set[str]:
    return {str(step.argval) for step in dis.get_instructions(code) if step.opname in _READS}


def _text_of(filename: str, namespace: dict[str, Any]) -> str:
    """The text of a file, or of a cell of a notebook."""
    linecache.checkcache(filename)
    return "".join(linecache.getlines(filename, namespace))


def _missing(text: str) -> str:
    return "has changed since it was run" if text else "cannot be had"


# -- classes without methods ----------------------------------------------------------------------


def _source_without_code(cls: type, where: str) -> Source:
    """The source of a class without methods: where it was defined is not known of it."""
    if DEFINED_BY in vars(cls):
        return vars(cls)[DEFINED_BY][1]
    for text in _texts_of_main():
        for found in reversed(list(_definitions(text, cls.__qualname__))):
            if isinstance(found, ast.ClassDef):
                return Source(_segment(text, found), _has_texts_for_annotations(cls, found))
    raise NotPlain(f"{where} is the class {cls.__qualname__}, whose source cannot be had")


def _texts_of_main() -> Iterator[str]:
    """The script, or the cells of the notebook, from the last to the first."""
    main = vars(sys.modules["__main__"])
    if file := main.get("__file__"):
        yield _text_of(file, main)
    for name, entry in reversed(list(linecache.cache.items())):
        # What was registered by hand has no time of change.
        if len(entry) == 4 and entry[1] is None and not name.startswith(FILE_OF_SOURCE.split("{")[0]):
            yield "".join(entry[2])


def _has_texts_for_annotations(cls: type, found: ast.ClassDef) -> bool:
    """Whether annotations became texts that are none in the source, as under `from __future__ import annotations`."""
    annotations = vars(cls).get("__annotations__", {})
    # Typed dicts and named tuples keep a text as a ForwardRef.
    held = {name: getattr(value, "__forward_arg__", value) for name, value in annotations.items()}
    written = {
        s.target.id: s.annotation for s in found.body if isinstance(s, ast.AnnAssign) and hasattr(s.target, "id")
    }
    return any(held.get(name) == ast.unparse(each) for name, each in written.items())


# -- statements -----------------------------------------------------------------------------------


def _definitions(text: str, name: str) -> Iterator[_Definition]:
    """The statements outside of classes and functions that define a name."""
    try:
        waiting: list[ast.AST] = list(reversed(ast.parse(text).body))
    except (SyntaxError, ValueError):
        return
    while waiting:
        statement = waiting.pop()
        if not isinstance(statement, _Definition):
            inner = [each for block in _BLOCKS for each in getattr(statement, block, ())]
            waiting.extend(reversed(inner))
        elif statement.name == name:
            yield statement


def _first_line(statement: _Definition) -> int:
    return min([statement.lineno, *(decorator.lineno for decorator in statement.decorator_list)])


def _covers(statement: _Definition, line: int) -> bool:
    return _first_line(statement) <= line <= (statement.end_lineno or line)


def _segment(text: str, statement: _Definition) -> str:
    """The text of a statement; one that is indented stays so, for the sake of texts in it."""
    # Not `splitlines`, which also splits where Python does not.
    lines = text.split("\n")[_first_line(statement) - 1 : statement.end_lineno]
    return "\n".join([*(["if True:"] if statement.col_offset else []), *lines]) + "\n"

"""What a piece of code imports, read from it without running it."""

import ast
import dis
import functools
import importlib.util
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from mlflow_dspy_plugin.scrubbing.code_secrets import all_code

_MISSING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


def imported_by_module(file: Path, package: str, guarded: bool) -> set[str]:
    """The modules that a file of source imports, inside of its functions too.

    Args:
        file: The file; one that is no Python source imports nothing.
        package: The package that its relative imports start from.
        guarded: Whether to count those that it does without, in `try ... except ImportError`.
    """
    return set(_imported_by(file.read_bytes(), package, guarded)) if file.suffix == ".py" else set()


# Every saving looks at the same files, twice.
@functools.lru_cache(maxsize=256)
def _imported_by(source: bytes, package: str, guarded: bool) -> frozenset[str]:
    try:
        code = _code_of(importlib.util.decode_source(source), guarded)
    except (SyntaxError, ValueError):
        return frozenset()
    return frozenset(_imports(code, package))


def imported_by_function(function: FunctionType, guarded: bool) -> set[str]:
    """The modules that a function imports when it runs; the arguments are those of `imported_by_module`."""
    package = function.__globals__.get("__package__") or ""
    try:
        code = _code_of(textwrap.dedent(inspect.getsource(function)), guarded)
    except (OSError, TypeError, SyntaxError, ValueError):
        # Typed in, made, or a lambda in the middle of a line.
        code = function.__code__
    return set(_imports(code, package))


def _code_of(source: str, guarded: bool) -> CodeType:
    return compile(_WhatRuns(guarded).visit(ast.parse(source)), "<source>", "exec", dont_inherit=True)


class _WhatRuns(ast.NodeTransformer):
    """Takes out what does not run where a module is imported, or need not succeed."""

    def __init__(self, guarded: bool):
        self._guarded = guarded

    def visit_If(self, node: ast.If) -> ast.AST:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'"):
            node.test, node.body = ast.copy_location(ast.Constant(False), node.test), [_nothing(node)]
        return self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> ast.AST:
        caught = {name for handler in node.handlers for name in _names(handler.type)}
        if not self._guarded and caught & _MISSING:
            node.body = [_nothing(node)]
            node.handlers = [ast.copy_location(ast.ExceptHandler(None, None, [_nothing(node)]), node)]
        return self.generic_visit(node)

    def visit_With(self, node: ast.With) -> ast.AST:
        called = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        suppressed = {name for call in called if "suppress" in ast.unparse(call.func) for name in map(_last, call.args)}
        if not self._guarded and suppressed & _MISSING:
            return _nothing(node)
        return self.generic_visit(node)


def _nothing(node: ast.AST) -> ast.stmt:
    return ast.copy_location(ast.Pass(), node)


def _names(caught: ast.expr | None) -> list[str]:
    """The names of the exceptions of a handler; without any it catches all."""
    if caught is None:
        return ["BaseException"]
    return [_last(each) for each in (caught.elts if isinstance(caught, ast.Tuple) else [caught])]


def _last(name: ast.expr) -> str:
    return ast.unparse(name).split(".")[-1]


def _imports(code: CodeType, package: str) -> Iterator[str]:
    """The modules of all import statements, and what is taken from them, which may be a module too."""
    for inner in all_code(code):
        before: list[dis.Instruction] = []
        for instruction in dis.get_instructions(inner):
            if instruction.opname == "IMPORT_NAME":
                level, taken = (each.argval for each in before[-2:])
                try:
                    name = importlib.util.resolve_name("." * level + instruction.argval, package or None)
                except ImportError:
                    # Relative to nothing: it fails when it runs, too.
                    continue
                yield name
                yield from (f"{name}.{each}" for each in taken or () if each != "*")
            if instruction.opname != "EXTENDED_ARG":
                before.append(instruction)

"""Runs code in a fresh `__main__`: the cells of a notebook as IPython runs them, or all of them as one script."""

import ast
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_FUTURE_ANNOTATIONS = 0x1000000


def run_cells(cells: Sequence[str]) -> dict[str, Any]:
    """Run cells in a new `__main__`, by IPython itself where it is installed; returns the names that are there then."""
    run = _shell() or _kernel()
    for cell in cells:
        run(cell)
    return vars(sys.modules["__main__"])


def run_script(cells: Sequence[str], path: Path) -> dict[str, Any]:
    """Write the cells to a file and run it as a new `__main__`; returns the names that are there then."""
    text = "\n".join(cells)
    path.write_text(text, encoding="utf-8")
    names = _new_main(__file__=str(path))
    exec(compile(text, path, "exec", dont_inherit=True), names)
    return names


def _new_main(**names: Any) -> dict[str, Any]:
    # Of what was in the last one nothing is left.
    linecache.clearcache()
    module = sys.modules["__main__"] = ModuleType("__main__")
    vars(module).update(names)
    return vars(module)


def _shell() -> Callable[[str], Any] | None:
    try:
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config
    except ImportError:
        return None
    names = _new_main()
    config = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell(config=config, user_module=sys.modules["__main__"], user_ns=names)
    return lambda cell: shell.run_cell(cell, store_history=True).raise_error()


def _kernel() -> Callable[[str], Any]:
    """What IPython does: each cell is a file of its own, each statement of it is compiled alone, flags stay."""
    names = _new_main()
    flags = [0]

    def run(cell: str) -> None:
        filename = f"<ipython-input-{len(linecache.cache)}>"
        linecache.cache[filename] = (len(cell), None, [f"{line}\n" for line in cell.splitlines()], filename)
        for statement in ast.parse(cell).body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                flags[0] |= _FUTURE_ANNOTATIONS
            module = ast.Module([statement], type_ignores=[])
            exec(compile(module, filename, "exec", flags=flags[0], dont_inherit=True), names)

    return run


@pytest.fixture
def main() -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs cells in a new `__main__`, which is the old one again after the test."""
    before = sys.modules["__main__"]
    yield lambda *cells: run_cells(cells)
    sys.modules["__main__"] = before

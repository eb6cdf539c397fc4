"""A program as a Mermaid graph: its modules, what each is called where it stands, signatures and tools. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.programs.modules import held_by
from mlflow_dspy_plugin.seams.programs import ends_agent, is_signature

# A graph of more nodes is no picture.
_MOST_NODES = 200
_ESCAPES = str.maketrans({'"': "#quot;", "<": "#lt;", ">": "#gt;", "\n": " "})


def mermaid_of(program: dspy.Module) -> str:
    """The graph of a program, to be drawn by whatever draws Mermaid.

    Args:
        program: The program. What it does with its parts is in its code and is not drawn.
    """
    lines = ["graph TD"]
    _draw(program, type(program).__name__, None, lines, {})
    return "\n".join(lines)


def _draw(module: Any, title: str, parent: str | None, lines: list[str], drawn: dict[int, str]) -> None:
    if len(drawn) >= _MOST_NODES:
        return
    node, known = drawn.get(id(module)), id(module) in drawn
    if not known:
        node = drawn[id(module)] = f"n{len(drawn)}"
        lines.append(f'  {node}["{"<br/>".join(map(_escaped, [title, *_lines_of(module)]))}"]')
    if parent is not None:
        lines.append(f"  {parent} --> {node}")
    if known:
        return
    for tool in _tools_of(module):
        lines.append(f'  {node} --> {node}_{len(lines)}(["{_escaped(tool)}"])')
    for name, part in _parts_of(module):
        _draw(part, f"{name}: {type(part).__name__}", node, lines, drawn)


def _lines_of(module: Any) -> list[str]:
    signature = _asked(module, "signature")
    return [signature.signature] if is_signature(signature) else []


def _asked(module: Any, name: str) -> Any:
    """An attribute, which may be a property of the user's that raises; None then."""
    return attempt(lambda: getattr(module, name, None), lambda error: None)


def _tools_of(module: Any) -> list[str]:
    tools = _asked(module, "tools")
    tools = tools.values() if isinstance(tools, Mapping) else tools
    if not isinstance(tools, (list, tuple)) and not hasattr(tools, "__iter__"):
        return []
    return [tool.name for tool in tools if isinstance(tool, dspy.Tool) and not ends_agent(tool)]


def _parts_of(module: Any) -> Iterator[tuple[str, Any]]:
    """The modules and retrievers that are attributes of a module, also in lists and dicts."""
    for name, value in held_by(module):
        yield from _modules_in(name, value)


def _modules_in(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dspy.Module, dspy.Retrieve, dspy.retrievers.Embeddings)):
        yield name, value
        return
    for key, item in held_by(value):
        yield from _modules_in(f"{name}[{key!r}]", item)


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)

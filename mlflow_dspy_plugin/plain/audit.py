"""Looks at all of a parsed document before anything of it is imported or made."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.plain.nodes import KIND, MAX_DEPTH, SHAPES
from mlflow_dspy_plugin.plain.paths import is_allowed, is_data, tampered

# Which key of a node holds a path, by its kind.
_PATHS = {"named_tuple": "class", "object": "class", "dumped": "class", "type": "path", "function": "path"}
_IMPORTS = {"module": "name", "import": "path"}
# Methods that calling a program calls anyway.
_CALLS = {"__call__", "acall", "forward", "aforward"}
# The argument of a code interpreter that grants nothing.
_HARMLESS = "sync_files"
# Room for the levels that a node's own parts take.
_DEEPEST = 2 * MAX_DEPTH


@dataclass
class Audit:
    """What a document holds, known without importing anything.

    Attributes:
        nodes: The shared nodes, by their id.
        references: The ids that are referred to.
        classes: The paths of the classes that it names.
        functions: The paths of the functions that it names.
        sources: The text of each class and function that it brings with it, by name.
        imports: The modules and names that this source imports.
        objects: Every node of an object or of what dumps itself.
        reaches_out: Whether a method that is no call of a program is used as a function, or a code interpreter may
            reach files, variables or the network.
    """

    nodes: dict[int, dict[str, Any]] = field(default_factory=dict)
    references: set[int] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    objects: list[dict[str, Any]] = field(default_factory=list)
    reaches_out: bool = False

    @property
    def brings_code(self) -> bool:
        """Whether loading or calling it can run more than DSPy's own code."""
        foreign = [path for path in self.classes if not is_data(path)]
        return bool(foreign or self.functions or self.sources or self.imports or self.reaches_out)


def audit(document: Any) -> Audit:
    """Look at a parsed document.

    Raises:
        ModelFolderError: If it is no document of ours, names what it may not, or is nested too deeply.
    """
    if not isinstance(document, dict) or not {"program", "settings", "definitions"} <= document.keys():
        raise _damaged("it has no program, settings and definitions")
    found = Audit()
    for step in _steps(document["definitions"]):
        if "source" in step:
            found.sources[step["name"]] = step["source"]
    in_source = [step["value"] for step in document["definitions"] if "source" not in step]
    for node in _nodes_below([document["program"], document["settings"]]):
        _look_at(node, found, importing=False)
    for node in _nodes_below(in_source):
        _look_at(node, found, importing=True)
    if unknown := found.references - found.nodes.keys():
        raise _damaged(f"it refers to {min(unknown)!r}, which it does not have")
    return found


def _steps(steps: Any) -> list[dict[str, Any]]:
    if not isinstance(steps, list):
        raise _damaged("its definitions are no list")
    for step in steps:
        fine = isinstance(step, dict) and isinstance(step.get("name"), str) and step["name"].isidentifier()
        if not fine or not (isinstance(step.get("source"), str) or "value" in step):
            raise _damaged("a definition has no name, or nothing to define")
    return steps


def _nodes_below(values: list[Any]) -> Iterator[dict[str, Any]]:
    waiting = [(value, 0) for value in values]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise _damaged(f"it is nested more than {_DEEPEST} levels deep")
        if isinstance(value, dict):
            if KIND in value:
                yield value
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in value)


def _look_at(node: dict[str, Any], found: Audit, importing: bool) -> None:
    kind = node[KIND]
    shape = SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None or kind in _IMPORTS and not importing:
        raise _damaged(f"it has a node of the kind {kind!r}")
    for name, types in shape.items():
        key = name.removesuffix("?")
        if key not in node and name.endswith("?"):
            continue
        if not isinstance(node.get(key), types) or key not in node:
            raise _damaged(f"a node of the kind {kind!r} has no proper {key!r}")
    _note(node, kind, found)


def _note(node: dict[str, Any], kind: str, found: Audit) -> None:
    if kind == "ref":
        found.references.add(node["id"])
    elif "id" in node:
        _note_id(node, found)
    if kind in _PATHS and isinstance(node[_PATHS[kind]], str):
        _note_path(node[_PATHS[kind]], kind, found)
    elif kind in _IMPORTS:
        found.imports.add(node[_IMPORTS[kind]])
    elif kind == "method":
        found.reaches_out |= node["name"] not in _CALLS
    elif kind == "interpreter":
        found.reaches_out |= any(value for name, value in node["arguments"].items() if name != _HARMLESS)
    if kind in ("object", "dumped"):
        found.objects.append(node)


def _note_id(node: dict[str, Any], found: Audit) -> None:
    if type(node["id"]) is not int or found.nodes.setdefault(node["id"], node) is not node:
        raise _damaged("two nodes have the same id")


def _note_path(path: str, kind: str, found: Audit) -> None:
    if path.startswith(":"):
        if path[1:].split(".")[0] not in found.sources:
            raise _damaged(f"it has no source of {path[1:]!r}")
        return
    if not is_allowed(path):
        raise tampered(path, "which a model may not name")
    (found.functions if kind == "function" else found.classes).add(path)


def _damaged(what: str) -> ModelFolderError:
    return ModelFolderError(
        f"The program of the model is damaged: {what}. It was changed since it was saved; log or download it again."
    )

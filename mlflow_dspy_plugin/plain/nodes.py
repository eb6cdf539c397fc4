"""The nodes of the plain form: their kinds, what each holds, and how they are written."""

import itertools
from collections.abc import Callable
from typing import Any

KIND = "$"
# Deeper than any program, and shallow enough for Python's stack.
MAX_DEPTH = 100

# How one file has another encode and decode what is inside of a node: (value, where) -> node, and back.
Encode = Callable[[Any, str], Any]
Decode = Callable[[Any], Any]

_ANY = (object,)
_TEXT = (str,)
_LIST = (list,)
# What a node of each kind must hold, by the type of the value; a name with "?" may be missing.
SHAPES: dict[str, dict[str, tuple[type, ...]]] = {
    # Containers and values.
    "list": {"items": _LIST},
    "mapping": {"items": _LIST},
    "tuple": {"items": _LIST},
    "set": {"items": _LIST},
    "frozenset": {"items": _LIST},
    "bytes": {"base64": _TEXT},
    "array": {"dtype": _TEXT, "shape": _ANY, "base64": _TEXT},
    "pattern": {"pattern": _TEXT, "flags": (int,)},
    "text": {"type": _TEXT, "text": _TEXT},
    # Objects.
    "named_tuple": {"class": _TEXT, "items": _LIST},
    "object": {"class": (str, dict), "state": _ANY, "arguments?": (dict,)},
    "interpreter": {"arguments": (dict,)},
    "dumped": {"class": _TEXT, "state": _ANY},
    "member": {"enum": (dict,), "name": _TEXT},
    "ref": {"id": (int,)},
    # Functions.
    "function": {"path": _TEXT},
    "method": {"object": _ANY, "name": _TEXT},
    "finish": {"outputs": _ANY},
    # Types.
    "type": {"path": _TEXT},
    "special": {"name": _TEXT},
    "generic": {"origin": _ANY, "arguments": _LIST},
    "literal": {"values": _LIST},
    "annotated": {"type": _ANY, "metadata": _LIST},
    "code": {"language": _TEXT},
    "decision": {"of": _TEXT, "options": _LIST},
    "enum": {"name": _TEXT, "base": _TEXT, "members": _LIST},
    "model": {"name": _TEXT, "doc": _ANY, "config": (dict,), "fields": _LIST},
    "signature": {"name": _TEXT, "instructions": _TEXT, "fields": _LIST},
    "field": {
        "annotation": _ANY,
        "extra": _ANY,
        "constraints": (dict,),
        "texts": (dict,),
        "remarks?": _LIST,
        "default?": _ANY,
    },
    # What source needs around it.
    "module": {"name": _TEXT, "submodules": _LIST},
    "import": {"path": _TEXT},
}


class NotPlain(Exception):
    """Something has no plain form; the message says what, and why."""


class Node:
    """One node on its way to JSON.

    Attributes:
        body: The kind and what it holds, with nodes inside; None while it is being made.
        shared: Whether it is used in several places.
    """

    __slots__ = ("body", "number", "shared")

    def __init__(self) -> None:
        self.body: dict[str, Any] | None = None
        self.shared = False
        self.number: int | None = None


class Writer:
    """Writes nodes as what JSON knows.

    Attributes:
        written: What was written of each node, by the id of the node.
    """

    def __init__(self) -> None:
        self.written: dict[int, Any] = {}
        self._numbers = itertools.count(1)

    def write(self, value: Any, depth: int = 0) -> Any:
        """The JSON form of a node, or of a container of nodes.

        Raises:
            NotPlain: If it is nested too deeply.
        """
        if depth > MAX_DEPTH:
            raise NotPlain(f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(value, Node):
            return self._write_node(value, depth)
        if isinstance(value, list):
            return [self.write(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {key: self.write(item, depth + 1) for key, item in value.items()}
        return value

    def _write_node(self, node: Node, depth: int) -> Any:
        if node.number is not None:
            return {KIND: "ref", "id": node.number}
        body: Any = node.body or {}
        if node.shared:
            node.number = next(self._numbers)
            body = {**body, "id": node.number}
        elif body[KIND] == "list":
            body = body["items"]
        elif body[KIND] == "mapping" and all(type(key) is str and key != KIND for key, _ in body["items"]):
            body = dict(body["items"])
        self.written[id(node)] = self.write(body, depth)
        return self.written[id(node)]

"""Classes that this process has saved by value: loading gives them back, where they still live, rather than copies.

So whoever saves and loads in one notebook may go on comparing members of an Enum and asking `isinstance`.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from mlflow_dspy_plugin.plain.nodes import KIND

# The kinds of nodes that classes saved by value have.
BY_VALUE = {"enum", "model"}

_live: WeakValueDictionary[str, Any] = WeakValueDictionary()


class LiveClasses:
    """Which classes of a document live in this process.

    Args:
        parsed: The document.
        shared: Its nodes that are used more than once, by their id.
    """

    def __init__(self, parsed: Mapping[str, Any], shared: Mapping[int, dict[str, Any]]) -> None:
        self._shared = shared
        self._keys: dict[int, Any] = {}
        self._definitions = json.dumps(parsed["definitions"], sort_keys=True)

    def remember(self, node: dict[str, Any], cls: type) -> None:
        """Note that a node was made of this class."""
        _live[self._key(node)] = cls

    def remember_definition(self, name: str, value: Any) -> None:
        """Note that a definition of the document was made of this class or function."""
        _live[self._key_of_definition(name)] = value

    def of(self, node: dict[str, Any]) -> type | None:
        """The class that a node of the kinds enum and model was made of, if it lives here."""
        return _live.get(self._key(node)) if node[KIND] in BY_VALUE else None

    def definitions(self, names: list[str]) -> dict[str, Any]:
        """What all of these definitions were made of, if all of it lives here; else nothing."""
        found = {name: _live.get(self._key_of_definition(name)) for name in names}
        return {} if None in found.values() else found

    def _key(self, node: dict[str, Any]) -> str:
        return self._told(node)["node"]

    def _key_of_definition(self, name: str) -> str:
        return hashlib.sha256(f"{name} {self._definitions}".encode("utf-8", "surrogatepass")).hexdigest()

    def _told(self, value: Any) -> Any:
        """A value with the digests of its nodes, without ids: references tell the same as what they refer to."""
        if isinstance(value, list):
            return [self._told(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get(KIND) == "ref":
            return self._told_once(value["id"])
        parts = {key: self._told(item) for key, item in value.items() if key != "id" or KIND not in value}
        return (
            {"node": hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()} if KIND in value else parts
        )

    def _told_once(self, number: int) -> Any:
        if number not in self._keys:
            self._keys[number] = self._told(self._shared[number])
        return self._keys[number]

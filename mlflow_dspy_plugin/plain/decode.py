"""Nodes -> objects, after an audit."""

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.plain import constructors
from mlflow_dspy_plugin.plain.annotations import decode_annotation, decode_class
from mlflow_dspy_plugin.plain.live import LiveClasses
from mlflow_dspy_plugin.plain.namespace import Namespace
from mlflow_dspy_plugin.plain.nodes import KIND
from mlflow_dspy_plugin.plain.paths import checked_class, resolve, tampered
from mlflow_dspy_plugin.plain.signatures import decode_field, decode_signature
from mlflow_dspy_plugin.plain.values import decode_value
from mlflow_dspy_plugin.seams import programs as programs_seam


class Decoder:
    """Makes objects of the nodes of one document.

    Args:
        shared: The nodes that are used more than once, by their id.
        live: Which classes of the document live in this process and are to be used.

    Attributes:
        namespace: What the source of the document has defined.
    """

    def __init__(self, shared: Mapping[int, dict[str, Any]], live: LiveClasses | None = None) -> None:
        self.namespace = Namespace()
        self._live = live
        self._shared = shared
        self._made: dict[int, Any] = {}
        self._makers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "list": self._list,
            "mapping": self._mapping,
            "named_tuple": self._named_tuple,
            "object": self._object,
            "dumped": self._dumped,
            "interpreter": lambda node: programs_seam.make_interpreter(self.decode(node["arguments"])),
            "function": self._function,
            "method": self._method,
            "finish": lambda node: programs_seam.make_finish(self.decode(node["outputs"])),
            "type": self._type,
            "signature": lambda node: decode_signature(node, self.decode),
            "field": lambda node: decode_field(node, self.decode),
            **dict.fromkeys(("special", "literal", "annotated", "generic"), self._annotation),
            **dict.fromkeys(("code", "decision", "enum", "model"), self._class),
        }

    def decode(self, value: Any) -> Any:
        """The object of a node; a scalar is its own.

        Raises:
            ModelFolderError: If a path in it leads to nothing, or to what no program is made of.
            ModuleNotFoundError: If a module is not installed.
        """
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if KIND not in value:
            return {key: self.decode(item) for key, item in value.items()}
        number = value.get("id")
        if number is None:
            return self._make(value)
        if number not in self._made:
            made_of_it = self._make(self._shared[number])
            # What can hold itself is there already.
            self._made.setdefault(number, made_of_it)
        return self._made[number]

    def _make(self, node: dict[str, Any]) -> Any:
        make = self._makers.get(node[KIND])
        return make(node) if make else decode_value(node, self.decode)

    def _remember(self, node: dict[str, Any], shell: Any) -> None:
        if "id" in node:
            self._made[node["id"]] = shell

    def _list(self, node: dict[str, Any]) -> list[Any]:
        made_list: list[Any] = []
        self._remember(node, made_list)
        made_list.extend(self.decode(item) for item in node["items"])
        return made_list

    def _mapping(self, node: dict[str, Any]) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        self._remember(node, mapping)
        mapping.update((self.decode(key), self.decode(item)) for key, item in node["items"])
        return mapping

    def _annotation(self, node: dict[str, Any]) -> Any:
        return decode_annotation(node, self.decode)

    def _type(self, node: dict[str, Any]) -> type:
        found = self._named(node["path"])
        if not isinstance(found, type):
            raise tampered(node["path"], "which is no class")
        return found

    def _class(self, node: dict[str, Any]) -> type:
        live = self._live.of(node) if self._live else None
        return live or decode_class(node, self.decode)

    def _named(self, path: str) -> Any:
        return self.namespace.get(path[1:]) if path.startswith(":") else resolve(path)

    def _function(self, node: dict[str, Any]) -> Any:
        found = self._named(node["path"])
        if not callable(found) or isinstance(found, type):
            raise tampered(node["path"], "which is no function")
        return found

    def _method(self, node: dict[str, Any]) -> Any:
        method = getattr(self.decode(node["object"]), node["name"], None)
        if not isinstance(method, MethodType):
            raise ModelFolderError(f"The model uses the method {node['name']!r} of an object that has none.")
        return method

    # -- objects --------------------------------------------------------------------------------

    def _named_tuple(self, node: dict[str, Any]) -> Any:
        cls = self._named(node["class"])
        if not isinstance(cls, type) or not issubclass(cls, tuple) or not hasattr(cls, "_fields"):
            raise tampered(node["class"], "which is no named tuple")
        # As unpickling would, without a `__new__` of the user's.
        return tuple.__new__(cls, [self.decode(item) for item in node["items"]])

    def _object(self, node: dict[str, Any]) -> Any:
        named = node["class"]
        cls = checked_class(self._named(named) if isinstance(named, str) else self.decode(named), str(named))
        if "arguments" in node:
            if not constructors.may_be_constructed(cls):
                raise tampered(str(named), "whose constructor a model may not call")
            obj = cls(**self.decode(node["arguments"]))
        else:
            obj = cls.__new__(cls)
        self._remember(node, obj)
        _set_state(obj, self.decode(node["state"]))
        for name, make in programs_seam.remade_attributes(obj).items():
            setattr(obj, name, make(obj))
        return obj

    def _dumped(self, node: dict[str, Any]) -> Any:
        cls = self._named(node["class"])
        if not isinstance(cls, type) or not (constructors.is_language_model(cls) or constructors.is_engine(cls)):
            raise tampered(node["class"], "which is no language model and no engine of one")
        return cls.load_state(self.decode(node["state"]))


def _set_state(obj: Any, state: Any) -> None:
    """Give an object its state, as unpickling would."""
    if hasattr(obj, "__setstate__"):
        obj.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    obj.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        setattr(obj, name, value)

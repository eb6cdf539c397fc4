"""Makes what a model brings as source, in a namespace of its own."""

import builtins
import hashlib
import importlib
import linecache
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.plain.nodes import KIND
from mlflow_dspy_plugin.plain.sameness import functions_of
from mlflow_dspy_plugin.plain.source import DEFINED_BY, FILE_OF_SOURCE, Source


class Namespace:
    """The names that a model's source defines and uses.

    What it defines believes to be in `__main__`, as it was when it was saved, but is in no module.
    """

    def __init__(self) -> None:
        self._names: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}

    def use(self, names: Mapping[str, Any]) -> None:
        """Take classes and functions that are there already."""
        self._names.update(names)

    def take(self, step: dict[str, Any], decode: Callable[[Any], Any]) -> None:
        """Take one step of a document's definitions."""
        if "source" in step:
            self._define(Source(step["source"], bool(step.get("future_annotations"))), step["name"])
        else:
            self._names[step["name"]] = _value_of(step["value"], decode)

    def get(self, qualified_name: str) -> Any:
        """A class or function, by the name under which it was defined.

        Raises:
            ModelFolderError: If it has not been defined.
        """
        root, *rest = qualified_name.split(".")
        found = self._names.get(root)
        for part in rest:
            found = vars(found).get(part) if isinstance(found, type) else None
        if found is None:
            raise ModelFolderError(
                f"The source in the model defines no {qualified_name!r}. The model was changed since it "
                "was saved; log or download it again."
            )
        return found

    def _define(self, source: Source, name: str) -> None:
        digest = hashlib.sha256(source.text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        filename = FILE_OF_SOURCE.format(name=name, digest=digest)
        # For tracebacks, and for saving it once more.
        lines = source.text.splitlines(keepends=True)
        linecache.cache[filename] = (len(source.text), None, lines, filename)
        # Pydantic looks for types where a class is made, unless that is a module: then in the one called `__main__`.
        exec(source.compile(filename).replace(co_name="<source>"), self._names)
        made = self._names[name]
        if isinstance(made, type) and not any(functions_of(made)):
            setattr(made, DEFINED_BY, (self._names, source))

    def complete(self) -> None:
        """Have pydantic look once more for types that were defined after what names them."""
        for made in self._names.values():
            if isinstance(made, type) and issubclass(made, pydantic.BaseModel) and not made.__pydantic_complete__:
                made.model_rebuild(raise_errors=False, _types_namespace=self._names)


def _value_of(node: Any, decode: Callable[[Any], Any]) -> Any:
    if not isinstance(node, dict) or node.get(KIND) not in ("module", "import"):
        return decode(node)
    if node[KIND] == "module":
        for submodule in node["submodules"]:
            importlib.import_module(submodule)
        return importlib.import_module(node["name"])
    module, _, name = node["path"].partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found

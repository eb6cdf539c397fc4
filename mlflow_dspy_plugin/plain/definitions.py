"""What a program's source needs around it: everything that it names, in the order in which it can be made."""

import ast
import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mlflow_dspy_plugin.plain.nodes import KIND, Encode, Node, NotPlain
from mlflow_dspy_plugin.plain.sameness import functions_of
from mlflow_dspy_plugin.plain.source import (
    is_definition,
    names_in_annotations,
    names_read,
    names_read_at_definition,
    namespace_of,
    source_of,
)
from mlflow_dspy_plugin.scrubbing.code_secrets import (
    all_code,
    refuse_secret_values,
    refuse_secrets,
    refuse_secrets_in_source,
)

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
# What Python tells a module about itself.
_OF_THE_MODULE = {"__cached__", "__doc__", "__file__", "__loader__", "__package__", "__spec__"}
_IN_EVERY_MODULE = {"__annotations__", "__builtins__", "__name__"}


@dataclass(frozen=True)
class _Step:
    """One name to be made.

    Attributes:
        body: `{"name", "source", "future_annotations"}` for a definition, `{"name", "value"}` for a name that one uses.
        now: The names that must be there before.
        later: The names that what is defined uses when it is called.
    """

    body: dict[str, Any]
    now: set[str]
    later: set[str]


class Definitions:
    """Collects the classes and functions of `__main__` that travel, and the names that they use."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._values: dict[str, Any] = {}
        self._steps: dict[str, _Step] = {}

    def path_of(self, value: Any, where: str) -> str:
        """The path of a class or function in the source that travels, which it is added to.

        Raises:
            NotPlain: If its source cannot be had, or is no longer what runs.
            SecretError: If there is a secret in it.
        """
        namespace = namespace_of(value, vars(sys.modules["__main__"]))
        root, *rest = value.__qualname__.split(".")
        found = namespace.get(root)
        for part in rest:
            found = getattr(found, part, None)
        if found is not value:
            raise NotPlain(f"{where} is {value.__qualname__}, which is no longer the one in __main__")
        self._define(root, namespace[root], namespace, where)
        return f":{value.__qualname__}"

    def steps(self) -> list[dict[str, Any]]:
        """The steps that make all of them, in an order in which each finds what it needs."""
        return [self._steps[name].body for name in _in_order(self._steps)]

    def defined(self) -> dict[str, Any]:
        """The classes and functions themselves, by name."""
        return {name: self._values[name] for name, step in self._steps.items() if "source" in step.body}

    def _define(self, name: str, value: Any, namespace: dict[str, Any], where: str) -> None:
        if name in self._values:
            self._check_same(name, value, where)
            return
        before = dict(self._values), dict(self._steps)
        self._values[name] = value
        try:
            self._add(name, value, namespace, where)
        except BaseException:
            # Whatever was added for its sake may use it.
            self._values, self._steps = before
            raise

    def _add(self, name: str, value: Any, namespace: dict[str, Any], where: str) -> None:
        """Add a definition, and all that it uses."""
        source = source_of(value, where)
        for code in (value, *functions_of(value)):
            if isinstance(code, (type, FunctionType)):
                refuse_secrets(code)
        refuse_secrets_in_source(source.text, f"The source of {name}")
        compiled = source.compile("<source>")
        read = names_read(compiled)
        if of_module := sorted(read & _OF_THE_MODULE & namespace.keys()):
            raise NotPlain(f"{name} reads {of_module[0]}, which is another one where it loads")
        known = namespace.keys() - _OF_THE_MODULE - _IN_EVERY_MODULE - {name}
        now = names_read_at_definition(compiled) & known
        later = (read | _types_in_texts(compiled, namespace)) & known
        hints = names_in_annotations(source.text) & known - now - later
        body = {"name": name, "source": source.text, "future_annotations": source.future_annotations}
        self._steps[name] = _Step(body, now, later | hints)
        for used in sorted(now | later):
            self._use(used, source.text, namespace, name)
        for used in sorted(hints):
            # Who never asks for the types does without them.
            with contextlib.suppress(NotPlain):
                self._use(used, source.text, namespace, name)

    def _use(self, name: str, text: str, namespace: dict[str, Any], user: str) -> None:
        """Add a name that a definition uses."""
        value = namespace[name]
        where = f"{name} (used by {user})"
        if name in self._values:
            self._check_same(name, value, where)
            if isinstance(value, ModuleType):
                known = self._steps[name].body["value"]["submodules"]
                known[:] = sorted({*known, *_submodules(value, name, text)})
            return
        node = None if is_definition(value) else _import_of(value, name, text)
        if node is None:
            refuse_secret_values([(name, value)], f"The source of {user}")
            node = self._encode(value, where)
        if name not in self._values:
            # Encoding a definition under its own name has added it.
            self._values[name] = value
            self._steps[name] = _Step({"name": name, "value": node}, set(_definitions_in(node)), set())

    def _check_same(self, name: str, value: Any, where: str) -> None:
        """Refuse two things of one name, as a program that was loaded and one around it may have them."""
        known = self._values[name]
        if known is not value and not (type(known) is type(value) and _is_equal(known, value)):
            raise NotPlain(f"{where} is one of two different things called {name!r}")


def _in_order(steps: dict[str, _Step]) -> list[str]:
    """The names in an order in which what each needs at once comes first, and what that calls, too, if it can."""
    order: dict[str, None] = {}
    open_names: set[str] = set()

    def add(name: str) -> None:
        if name in order or name in open_names or name not in steps:
            return
        open_names.add(name)
        needed = sorted(_reached(steps, steps[name].now))
        for other in needed:
            add(other)
        for other in sorted(_reached(steps, needed, later=True)):
            if not _reached(steps, [other]) & open_names:
                add(other)
        open_names.discard(name)
        order[name] = None

    for name in steps:
        add(name)
    return list(order)


def _reached(steps: dict[str, _Step], names: Any, later: bool = False) -> set[str]:
    """The names that these need, directly or not, themselves among them."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in steps and name not in found:
            found.add(name)
            waiting.extend(steps[name].now | (steps[name].later if later else set()))
    return found


def _types_in_texts(code: CodeType, namespace: dict[str, Any]) -> set[str]:
    """The names of types in string signatures such as "text -> label: Label"."""
    texts = [c for each in all_code(code) for c in each.co_consts if isinstance(c, str) and "->" in c]
    names = {name for text in texts for name in _IDENTIFIER.findall(text)}
    return {name for name in names if isinstance(namespace.get(name), type)}


def _definitions_in(value: Any, seen: set[int] | None = None) -> Iterator[str]:
    """The names of the definitions that a node speaks of."""
    seen = set() if seen is None else seen
    if isinstance(value, Node) and id(value) not in seen:
        seen.add(id(value))
        yield from _definitions_in(value.body, seen)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _definitions_in(item, seen)
    elif isinstance(value, list):
        for item in value:
            yield from _definitions_in(item, seen)
    elif isinstance(value, str) and value.startswith(":"):
        yield value[1:].split(".")[0]


def _import_of(value: Any, name: str, text: str) -> dict[str, Any] | None:
    """How to import a value, if it is a module, or a class, function or special form of one."""
    if isinstance(value, ModuleType):
        if value.__name__ == "__main__" or sys.modules.get(value.__name__) is not value:
            return None
        return {KIND: "module", "name": value.__name__, "submodules": _submodules(value, name, text)}
    for module in (getattr(value, "__module__", None), "typing", "typing_extensions"):
        for own in (getattr(value, "__qualname__", None), getattr(value, "_name", None), name):
            if isinstance(own, str) and module and module != "__main__" and _has(module, own, value):
                return {KIND: "import", "path": f"{module}:{own}"}
    return None


def _is_equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:
        # Of arrays, and whatever else refuses to be compared, one cannot tell.
        return False


def _has(module: str, name: str, value: Any) -> bool:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _submodules(module: ModuleType, name: str, text: str) -> list[str]:
    """The submodules that a source reads as attributes, which an import of the module alone may not bring."""
    dotted = {ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    read = {module.__name__ + each.removeprefix(name) for each in dotted if each.startswith(f"{name}.")}
    return sorted(each for each in read if each in sys.modules)

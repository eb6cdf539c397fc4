"""Which modules a program needs, found by looking at it."""

import functools
import sys
import typing
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import dspy
import pydantic

from mlflow_dspy_plugin.needs.imports import imported_by_function, imported_by_module
from mlflow_dspy_plugin.needs.installed import (
    OF_THE_FLAVOR,
    attribute,
    distributions_of,
    file_of,
    is_own,
    root_of,
    spec_of,
)
from mlflow_dspy_plugin.scrubbing.code_secrets import global_names, travels_by_value
from mlflow_dspy_plugin.seams.dspy import backend_of
from mlflow_dspy_plugin.seams.mlflow import MODEL_CODE_PREFIX, pinned_requirement
from mlflow_dspy_plugin.seams.programs import remade_attributes

_LEAVES = (str, bytes, int, float, complex, type(None))
_IN_ANY_CASE = OF_THE_FLAVOR | sys.stdlib_module_names
# What objects of DSPy remember of past calls is not saved, so it needs nothing.
_NOT_SAVED = {"history", "callbacks", "traces"}


@dataclass(frozen=True)
class Needs:
    """The modules that a program needs beside MLflow, DSPy and this package.

    Attributes:
        packages: The installed ones: the name to import (a package, or a part of a namespace),
            with the requirement that brings it, pinned as installed.
        own: The modules of the user's own, by their full names.
        optional: Those of `packages` and `own` that the program can do without.
    """

    packages: Mapping[str, str]
    own: frozenset[str]
    optional: frozenset[str]

    def at_load(self) -> dict[str, str | None]:
        """What has to be found where the model loads, with what brings it; None for the user's own."""
        own = {root_of(name): None for name in self.own - self.optional}
        packages = {name: line for name, line in self.packages.items() if name not in self.optional}
        return dict(sorted({**own, **packages}.items()))


def needs_of(program: dspy.Module, settings: Mapping[str, Any]) -> Needs:
    """The modules that a program needs; it is neither run nor imported anew.

    Args:
        program: The program; its classes and those of everything it holds are looked at.
        settings: The settings saved with it (language model, adapter, retriever).
    """
    objects = [program, *settings.values()]
    own, packages = _sorted_out(_Walk(guarded=True).modules_behind(objects))
    own_needed, packages_needed = _sorted_out(_Walk(guarded=False).modules_behind(objects))
    optional = frozenset((own | packages.keys()) - own_needed - packages_needed.keys())
    pinned = {root: pinned_requirement(distribution) for root, distribution in packages.items()}
    return Needs(pinned, frozenset(own), optional)


def _sorted_out(modules: set[str]) -> tuple[set[str], dict[str, str]]:
    """The user's own modules, and the installed packages with their distributions."""
    own = {name for name in modules if is_own(name) and not name.startswith(MODEL_CODE_PREFIX)}
    roots = {root_of(name) for name in modules - own if name.split(".")[0] not in _IN_ANY_CASE}
    found = {root: distributions_of(root) for root in roots if root is not None}
    return own, {root: names[0] for root, names in found.items() if names}


class _Walk:
    """One look at some objects, at what they hold, and at the code behind them.

    Args:
        guarded: Whether imports count that the code does without.
    """

    def __init__(self, guarded: bool):
        self._guarded = guarded
        self._modules: set[str] = set()
        self._seen: dict[int, Any] = {}
        self._waiting: deque[Any] = deque()

    def modules_behind(self, objects: Iterable[Any]) -> set[str]:
        """The names of the modules."""
        self._waiting.extend(objects)
        while self._waiting:
            value = self._waiting.popleft()
            # By its type: `isinstance` asks a module that is imported lazily, which imports it.
            if id(value) not in self._seen and not issubclass(type(value), _LEAVES):
                self._seen[id(value)] = value
                self._look_at(value)
        return self._modules

    def _look_at(self, value: Any) -> None:
        if isinstance(value, ModuleType):
            self._add(str(attribute(value, "__name__")))
        elif issubclass(type(value), (type, FunctionType)):
            # On Python 3.10 `isinstance(list[int], type)` is true.
            self._add(str(value.__module__))
            if travels_by_value(value):
                self._look_into_code(value)
        else:
            self._waiting.append(type(value))
            self._waiting.extend(_held_by(value))
            if backend := backend_of(value):
                self._add_all({backend})

    def _look_into_code(self, code: type | FunctionType) -> None:
        """Look at what goes with code that is saved itself."""
        self._waiting.extend(_fields_of(code) if isinstance(code, type) else _bound_to(code))
        if _is_installed(str(code.__module__)):
            return
        self._waiting.extend(_parts_of(code) if isinstance(code, type) else _globals_of(code))
        if isinstance(code, FunctionType):
            self._add_all(imported_by_function(code, self._guarded))

    def _add_all(self, names: set[str]) -> None:
        """Add those that are modules: what is imported from one may be a function."""
        for name in names:
            if name in sys.modules or spec_of(name) is not None:
                self._add(name)

    def _add(self, name: str) -> None:
        """Add a module, its parents, and what they import if they are the user's own."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            if module not in self._modules:
                self._modules.add(module)
                if is_own(module):
                    self._look_into(module)

    def _look_into(self, name: str) -> None:
        file = file_of(name)
        if file is not None:
            package = name if file.stem == "__init__" else name.rpartition(".")[0]
            self._add_all(imported_by_module(file, package, self._guarded))
        if name in sys.modules and self._guarded:
            # What it has come by in other ways, as through importlib.
            self._waiting.extend(_code_in(sys.modules[name]))


def _is_installed(module: str) -> bool:
    return module not in ("__main__", "__mp_main__") and module in sys.modules and not is_own(module)


def _globals_of(function: FunctionType) -> list[Any]:
    """The global objects that a function names."""
    return [function.__globals__[name] for name in global_names(function.__code__) if name in function.__globals__]


def _parts_of(cls: type) -> list[Any]:
    """What a class is built on, and what it defines."""
    parts = [
        part for name, value in vars(cls).items() if not name.startswith("__") for part in _functions_behind(value)
    ]
    own = [value for value in vars(cls).values() if isinstance(value, FunctionType)]
    return [*cls.__bases__, *parts, *own, vars(cls).get("__annotations__")]


def _fields_of(cls: type) -> list[Any]:
    """The types and defaults of the fields of a signature or another pydantic class."""
    fields = cls.model_fields.values() if issubclass(cls, pydantic.BaseModel) else ()
    defaults = [field.default for field in fields if not field.is_required()]
    return [*(field.annotation for field in fields), *defaults]


def _functions_behind(value: Any) -> list[Any]:
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return [value.func]
    return [getattr(value, "__func__", value)]


def _bound_to(function: FunctionType) -> list[Any]:
    """The defaults of a function, and the variables that it closes over."""
    # An empty cell is that of a variable which is not yet bound.
    cells = [cell for cell in function.__closure__ or () if cell != CellType()]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return [*defaults, *(cell.cell_contents for cell in cells), *vars(function).values()]


def _held_by(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if arguments := typing.get_args(value):
        return [*arguments, typing.get_origin(value)]
    held = getattr(value, "__dict__", {})
    slots = [name for cls in type(value).__mro__ for name in _slots(cls)]
    values = {**held, **{name: getattr(value, name, None) for name in slots}}
    left_out = _NOT_SAVED | remade_attributes(value).keys()
    return [item for name, item in values.items() if name not in left_out]


def _slots(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    return [name for name in ([slots] if isinstance(slots, str) else slots) if name != "__dict__"]


def _code_in(module: ModuleType) -> list[Any]:
    """The modules, classes and functions that a module names, and the classes of its other objects."""
    values = (value for name, value in attribute(module, "__dict__").items() if not name.startswith("__"))
    return [v if isinstance(v, (ModuleType, type, FunctionType)) else type(v) for v in values]

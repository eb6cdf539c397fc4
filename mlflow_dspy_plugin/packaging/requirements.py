"""What a model needs installed, found without running it."""

import dis
import functools
import os
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

import dspy

# MLflow's own dependency: on Python 3.10 the standard library's reads old metadata only.
from importlib_metadata import packages_distributions

from mlflow_dspy_plugin.names import DISTRIBUTION
from mlflow_dspy_plugin.packaging.code_secrets import all_code, global_names
from mlflow_dspy_plugin.seams.mlflow import conda_env_of, pinned_requirement

# What the flavor itself needs; MLflow adds itself.
_ALWAYS = ("dspy", DISTRIBUTION, "cloudpickle")
_LEAVES = (str, bytes, int, float, type(None))
# What objects of DSPy remember of past calls is not saved, so it needs nothing.
_NOT_SAVED = {"history", "callbacks", "traces"}


def get_default_pip_requirements() -> list[str]:
    """The pip requirements that every model of this flavor has, pinned as installed here."""
    return [pinned_requirement(distribution) for distribution in _ALWAYS]


def get_default_conda_env() -> dict[str, Any]:
    """The conda environment that every model of this flavor has at least."""
    return conda_env_of(additional_pip_deps=get_default_pip_requirements())


def requirements_of(program: dspy.Module, settings: dict[str, Any]) -> list[str]:
    """The default requirements, and the packages that the program's own code imports.

    Args:
        program: The program; its classes and those of everything it holds are looked at.
        settings: The settings saved with it (language model, adapter, retriever).
    """
    installed = _installed(tuple(map(_stamp, sys.path)))
    modules = _modules_behind([program, *settings.values()], installed)
    packages = {name.split(".")[0] for name in modules}
    found = {installed[package][0] for package in packages if package in installed}
    extra = sorted(found - {*_ALWAYS, "mlflow", "mlflow-skinny"})
    return [*get_default_pip_requirements(), *map(pinned_requirement, extra)]


@functools.lru_cache(maxsize=1)
def _installed(stamps: tuple[Any, ...]) -> Mapping[str, list[str]]:
    """The distributions of each top-level package; reading them takes most of a second."""
    return packages_distributions()


def _stamp(folder: str) -> tuple[str, float | None]:
    """What changes when something is installed into a folder of `sys.path`."""
    try:
        return folder, os.stat(folder).st_mtime
    except OSError:
        return folder, None


def _modules_behind(objects: list[Any], installed: Mapping[str, Any]) -> set[str]:
    """The modules of the classes of these objects, of all that they hold, and of what their code uses."""
    modules: set[str] = set()
    seen: dict[int, Any] = {}
    waiting = list(objects)
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, _LEAVES):
            continue
        seen[id(value)] = value
        if isinstance(value, ModuleType):
            modules.add(value.__name__)
            waiting.extend(_code_in(value) if _is_users(value.__name__, installed) else ())
            continue
        owner = value if isinstance(value, (type, FunctionType)) else type(value)
        for code in owner.__mro__ if isinstance(owner, type) else (owner,):
            modules.add(str(code.__module__))
            if _is_users(str(code.__module__), installed):
                modules.update(_imported_by(code))
                waiting.extend(_used_by(code))
                # Its module is imported where the model is loaded, with all that it imports.
                waiting.append(None if code.__module__ == "__main__" else sys.modules.get(code.__module__))
        waiting.extend(_held_by(value))
    return modules


def _held_by(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if isinstance(value, (type, FunctionType)):
        return []
    held = getattr(value, "__dict__", {})
    return [item for name, item in held.items() if name not in _NOT_SAVED]


def _is_users(module: str, installed: Mapping[str, Any]) -> bool:
    """Whether a module is of no installed package, so that what it imports has to be found out."""
    package = module.split(".")[0]
    return package == "__main__" or package not in installed and package not in sys.stdlib_module_names


def _code_in(module: ModuleType) -> list[Any]:
    """The modules, classes and functions that a module names, and the classes of its other objects."""
    values = (value for name, value in vars(module).items() if not name.startswith("__"))
    return [v if isinstance(v, (ModuleType, type, FunctionType)) else type(v) for v in values]


def _used_by(owner: type | FunctionType) -> list[Any]:
    """The global objects that the code of a class or function names."""
    functions = _functions_of(owner)
    return [f.__globals__[n] for f in functions for n in global_names(f.__code__) if n in f.__globals__]


def _imported_by(owner: type | FunctionType) -> set[str]:
    """What functions import by themselves when they run."""
    codes = [code for function in _functions_of(owner) for code in all_code(function.__code__)]
    return {
        str(instruction.argval)
        for code in codes
        for instruction in dis.get_instructions(code)
        if instruction.opname == "IMPORT_NAME"
    }


def _functions_of(owner: type | FunctionType) -> list[FunctionType]:
    if isinstance(owner, FunctionType):
        return [owner]
    unwrapped = (getattr(value, "__func__", value) for value in vars(owner).values())
    return [value for value in unwrapped if isinstance(value, FunctionType)]

"""Makes the name `mlflow.dspy` mean this package, in every process that imports MLflow.

A finder at the front of `sys.meta_path` answers for that one name with a module that takes its
public names from this package and finds its submodules where MLflow keeps its own.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import mlflow_dspy_plugin
from mlflow_dspy_plugin import names

_OFF = {"false", "0", "no", "off"}


def is_switched_on() -> bool:
    """Whether the user lets this package stand in for MLflow's own flavor."""
    return os.environ.get(names.ENV_PLUGIN, "true").strip().lower() not in _OFF


def install() -> None:
    """Make `mlflow.dspy` this package, once, unless the user has switched that off."""
    if is_switched_on() and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Face(ModuleType):
    """The module `mlflow.dspy`: public names from this package, submodules from MLflow."""

    def __getattr__(self, name: str) -> Any:
        if name in names.PUBLIC_NAMES:
            return getattr(mlflow_dspy_plugin, name)
        if not name.startswith("_") and PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__):
            return importlib.import_module(f"{self.__name__}.{name}")
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        # Importing MLflow's own submodule `mlflow.dspy.autolog` binds it to its parent under the
        # name of a public function, which it must not hide.
        if isinstance(value, ModuleType) and name in names.PUBLIC_NAMES:
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *mlflow_dspy_plugin.__all__})


class _Finder:
    """Answers for `mlflow.dspy` and for nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != names.MLFLOW_FLAVOR_MODULE:
            return None
        own = PathFinder.find_spec(fullname, path)
        spec = ModuleSpec(fullname, self, is_package=True)
        spec.submodule_search_locations = list(own.submodule_search_locations or []) if own else []
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Face(spec.name, mlflow_dspy_plugin.__doc__)

    def exec_module(self, module: ModuleType) -> None:
        module.__all__ = mlflow_dspy_plugin.__all__

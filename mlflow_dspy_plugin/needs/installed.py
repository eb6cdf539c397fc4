"""Where a module comes from: the standard library, an installed distribution, or the user's own folders."""

import functools
import json
import os
import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

# MLflow's own dependency: on Python 3.10 the standard library's reads old metadata only.
from importlib_metadata import Distribution, distribution, distributions

from mlflow_dspy_plugin.names import PACKAGE

# Of the process, not of the program.
_MAIN = {"__main__", "__mp_main__"}
_NAME = re.compile(r"^Name: *(\S+)", re.MULTILINE)
# What loading a model needs in any case, wherever it was imported from.
OF_THE_FLAVOR = {"mlflow", "dspy", "cloudpickle", PACKAGE}


def spec_of(name: str) -> ModuleSpec | None:
    """The spec of a module, imported or not, found without importing its parents either."""
    spec = attribute(sys.modules.get(name), "__spec__")
    if spec is not None:
        return spec
    parent = name.rpartition(".")[0]
    above = spec_of(parent) if parent else None
    if parent and (above is None or above.submodule_search_locations is None):
        return None
    folders = list(above.submodule_search_locations or ()) if above is not None else None
    found = (_ask(finder, name, folders) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in found if spec is not None), None)


def _ask(finder: Any, name: str, folders: list[str] | None) -> ModuleSpec | None:
    try:
        return finder.find_spec(name, folders)
    except KeyError:
        # Python's own finder has found a namespace, and asks `sys.modules` for its parent.
        inside = [os.path.join(folder, name.rpartition(".")[2]) for folder in folders or ()]
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = list(filter(os.path.isdir, inside))
        return spec if spec.submodule_search_locations else None


def attribute(module: ModuleType | None, name: str) -> Any:
    """An attribute of a module; asking one that is imported lazily in the usual way would import it."""
    if not isinstance(module, ModuleType):
        return getattr(module, name, None)
    try:
        return ModuleType.__getattribute__(module, name)
    except AttributeError:
        return None


def _is_namespace(spec: ModuleSpec) -> bool:
    return spec.origin is None and spec.submodule_search_locations is not None


def file_of(name: str) -> Path | None:
    """The file of a module: its source, or the library it is compiled to."""
    spec = spec_of(name)
    file = spec.origin if spec is not None else attribute(sys.modules.get(name), "__file__")
    return Path(file) if file and os.path.isfile(file) else None


def root_of(name: str) -> str | None:
    """The outermost package of a module that is no namespace, which others may share; or the module itself."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        prefix = ".".join(parts[:end])
        spec = spec_of(prefix)
        if not _is_namespace(spec) if spec is not None else prefix in sys.modules:
            return prefix
    return None


def is_own(name: str) -> bool:
    """Whether a module that exists is the user's own: of no installed distribution, and not of Python itself."""
    top = name.split(".")[0]
    if top in sys.stdlib_module_names or top in _MAIN or top in OF_THE_FLAVOR:
        return False
    return root_of(name) is not None and not distributions_of(name)


def distributions_of(name: str) -> list[str]:
    """The installed distributions that a module may come from; mostly one."""
    top, file = name.split(".")[0], file_of(name) or file_of(root_of(name) or name)
    stamps = tuple(filter(None, map(_stamp, sys.path)))
    by_package, editable = _installed(stamps)
    candidates = by_package.get(top, [])
    if file is None:
        return candidates if root_of(name) else []
    if len(candidates) > 1:
        candidates = [each for each in candidates if _has_file(each, file, stamps)] or candidates
    if not candidates:
        return [each for each, project, paths in editable if _is_of_project(top, file, each, project, paths)]
    # A module of the user's may be called as one that is installed, and come first on the path.
    projects = [project for each, project, _ in editable if each in candidates]
    places = [_place_of(each, stamps) for each in candidates]
    return candidates if any(_is_below(file, place) for place in places + projects) else []


def _is_of_project(top: str, file: Path, name: str, project: Path, paths: list[Path]) -> bool:
    """Whether a file is of a project that is installed in place, and not just beside its packages, as its tests are."""
    named_alike = top.lower() == name.lower().replace("-", "_").replace(".", "_")
    return _is_below(file, project) and (named_alike or any(_is_below(file, path) for path in paths))


def _is_below(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _has_file(name: str, file: Path, stamps: tuple[Any, ...]) -> bool:
    root = _place_of(name, stamps)
    return _is_below(file, root) and file.resolve().relative_to(root).as_posix() in _files_of(name, stamps)


@functools.lru_cache(maxsize=256)
def _place_of(name: str, stamps: tuple[Any, ...]) -> Path:
    """Where a distribution is installed, as long as nothing else is; finding it reads all of its metadata."""
    return Path(str(distribution(name).locate_file(""))).resolve()


@functools.lru_cache(maxsize=32)
def _files_of(name: str, stamps: tuple[Any, ...]) -> frozenset[str]:
    """The files of a distribution, as long as nothing else is installed."""
    return frozenset(each.as_posix() for each in distribution(name).files or ())


@functools.lru_cache(maxsize=1)
def _installed(stamps: tuple[Any, ...]) -> tuple[Any, list[tuple[str, Path, list[Path]]]]:
    """The distributions of each package, and those installed in place; reading them takes a moment."""
    by_package: dict[str, list[str]] = {}
    for found in distributions():
        for package in _packages_of(found):
            by_package.setdefault(package, []).append(_name_of(found))
    return by_package, list(_editable())


def _packages_of(found: Distribution) -> set[str]:
    """The packages of a distribution, by its own lists: `packages_distributions` looks for every single file."""
    listed = (found.read_text("top_level.txt") or "").split()
    if listed:
        return set(listed)
    files = [line.split(",")[0] for line in (found.read_text("RECORD") or "").splitlines()]
    tops = {file.split("/")[0] if "/" in file else file.split(".")[0] for file in files}
    return {top for top in tops if top.isidentifier() and top != "__pycache__"}


def _name_of(found: Distribution) -> str:
    """The name of a distribution, without parsing all of its metadata."""
    line = _NAME.search(found.read_text("METADATA") or found.read_text("PKG-INFO") or "")
    return line[1] if line else found.metadata["Name"]


def _editable() -> Iterator[tuple[str, Path, list[Path]]]:
    """The projects that are installed in place: name, folder, and folders below it that are put on the path."""
    for found in distributions():
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            project = Path(url2pathname(urlparse(origin["url"]).path))
            yield _name_of(found), project, [path for path in _paths_of(found) if path != project]


def _paths_of(found: Distribution) -> Iterator[Path]:
    for file in found.files or ():
        if file.suffix == ".pth":
            lines = Path(str(found.locate_file(file))).read_text(encoding="utf-8").splitlines()
            yield from (Path(line) for line in lines if os.path.isdir(line))


def _stamp(folder: str) -> tuple[str, ...]:
    """What changes when something is installed into a folder of `sys.path`; nothing where nothing is installed."""
    try:
        found = sorted(name for name in os.listdir(folder or ".") if name.endswith("-info"))
    except OSError:
        return ()
    return (folder, *found) if found else ()

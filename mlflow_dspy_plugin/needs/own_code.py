"""Ships the user's own modules with a model, so that it loads where they are not."""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlflow.models.model import MLMODEL_FILE_NAME

from mlflow_dspy_plugin.names import CODE_FOLDER
from mlflow_dspy_plugin.needs.installed import file_of, root_of
from mlflow_dspy_plugin.seams.mlflow import copy_code_paths

_logger = logging.getLogger(__name__)

_LARGEST_BYTES = 1_000_000
# What lies in folders of code and is none; hidden files, environments and saved models are known by their looks.
_NO_CODE = {"__pycache__", "node_modules", "mlruns", "mlartifacts"}
_MARKERS = ("pyvenv.cfg", MLMODEL_FILE_NAME)


def ship_code(folder: Path, code_paths: list[str] | None, own: Iterable[str]) -> str | None:
    """Copy what `code_paths` names, and the user's own modules that are not among it.

    Of a package its needed modules go along, and all files in it that are no Python, such as texts
    that it reads.

    Args:
        folder: The model folder; the code goes to `code/` in it.
        code_paths: Files and folders, put there under their own names, as MLflow does.
        own: The full names of modules, those of packages included.

    Returns:
        What the flavor's section says under `code`.
    """
    code = copy_code_paths(code_paths, str(folder))
    target = folder / CODE_FOLDER
    needed = set(own)
    left_out: list[str] = []
    for root in sorted({str(root_of(name)) for name in needed}):
        if not _place(target, root).exists():
            modules = {name for name in needed if name == root or name.startswith(f"{root}.")}
            left_out += _ship(root, modules, target, folder)
    if left_out:
        _logger.warning(
            "Not shipped with the model: %s. If the program needs it where it loads, bring it there "
            "in another way: in a package that is installed, or with code_paths=[...].",
            ", ".join(left_out),
        )
    return CODE_FOLDER if target.is_dir() else code


def _place(target: Path, name: str) -> Path:
    """Where a package or a plain module belongs."""
    file, path = file_of(name), target.joinpath(*name.split("."))
    return path if file is not None and file.stem == "__init__" else path.with_name(f"{path.name}.py")


def _ship(root: str, modules: set[str], target: Path, model: Path) -> list[str]:
    """Copy the modules of one package, or a plain module; returns what was left out, and why."""
    left_out = []
    for name in sorted(modules):
        file, place = file_of(name), _place(target, name)
        if file is None or file.suffix != ".py":
            left_out.append(f"the module {name} (it has no Python source file)")
        else:
            _copy(file, place / file.name if file.stem == "__init__" else place)
    file = file_of(root)
    if file is not None and file.stem == "__init__":
        left_out += _ship_data(root, file.parent.resolve(), _place(target, root), model)
    return left_out


def _ship_data(root: str, package: Path, place: Path, model: Path) -> list[str]:
    """Copy the files of a package that are no Python; returns what was left out, and why."""
    left_out = []
    for path in list(_files_of(package, model.resolve())):
        name = path.relative_to(package)
        if path.is_dir() or not path.resolve().is_relative_to(package):
            left_out.append(f"{root}/{name} (a link to a folder, or out of the package)")
        elif path.suffix == ".py":
            continue
        elif path.stat().st_size > _LARGEST_BYTES:
            left_out.append(f"{root}/{name} ({path.stat().st_size / 1e6:.0f} MB)")
        else:
            _copy(path, place / name)
    return left_out


def _files_of(package: Path, model: Path) -> Iterator[Path]:
    """The files of a package; a link to a folder counts as one."""
    for parent, folders, files in os.walk(package):
        here = Path(parent)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in linked and _is_code(here / name, model)]
        for name in sorted(files + linked):
            if not name.startswith(".") and not name.endswith((".pyc", ".pyo")):
                yield here / name


def _is_code(folder: Path, model: Path) -> bool:
    if folder.name.startswith(".") or folder.name in _NO_CODE or folder == model:
        return False
    return not any((folder / marker).exists() for marker in _MARKERS)


def _copy(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, place)

"""What a saved folder holds.

FORMAT 2: the flavor's section says by `serialization_format` which of these it is.

==========  ========================================================================================
json        `data/program.json`: program and settings as plain data, see `plain`
cloudpickle `data/program.pkl`: a pickle of {"program", "settings"} without secrets
dspy        `data/model`: what DSPy's own `Module.save` wrote; `data/settings.pkl`
code        `data/program.py`: a script; `data/state.json`: a state to lay over its program;
            `data/program.json`: the settings alone
==========  ========================================================================================

FORMAT 1 had no `serialization_format`, and only the second and the third of these.

The flavor's section of the MLmodel file names the files and their SHA-256 digests.

To change it: raise FORMAT, keep the reader of the old one in `contents.py`, and add a folder saved by
the old one to the tests, for ever.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError

FORMAT = 2
# What each key of the flavor's section holds, if it is there.
_SHAPES: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys((names.KEY_MODEL_PATH, names.KEY_SETTINGS_PATH, names.KEY_STATE_PATH, names.KEY_CODE), str),
    **dict.fromkeys((names.KEY_TASK, names.KEY_SERIALIZATION), str),
    **dict.fromkeys((names.KEY_DIGESTS, names.KEY_MODULES, names.KEY_VERSIONS), Mapping),
    **dict.fromkeys((names.KEY_INPUT_FIELDS, names.KEY_OUTPUT_FIELDS, names.KEY_LANGUAGE_MODELS), list),
    names.KEY_LEFT_OUT: (list, Mapping),
}


def digests_of(folder: Path) -> dict[str, str]:
    """The SHA-256 digest of every file below `data` and `code`, by its path in the folder."""
    files = sorted(
        path for name in ("data", names.CODE_FOLDER) for path in (folder / name).rglob("*") if path.is_file()
    )
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def check_section(folder: Path, section: Mapping[Any, Any]) -> None:
    """Refuse a section whose values are of other types than any release has written.

    Raises:
        ModelFolderError: Naming the keys.
    """
    given = {key: section[key] for key in _SHAPES if section.get(key) is not None}
    wrong = [key for key, value in given.items() if not isinstance(value, _SHAPES[key])]
    if wrong:
        raise ModelFolderError(
            f"The model in {folder} is damaged: its MLmodel file does not say what it holds (no proper "
            f"{', '.join(wrong)}). It was changed since it was saved; log or download it again."
        )


def check_folder(folder: Path, section: Mapping[str, Any]) -> None:
    """Refuse a folder that this release cannot read, before anything of it is read.

    Args:
        folder: The model folder.
        section: The flavor's section of its MLmodel file.

    Raises:
        ModelFolderError: If the format is newer, or a file is missing or not as it was saved.
    """
    _check_format(folder, section[names.KEY_FORMAT])
    digests = section.get(names.KEY_DIGESTS)
    known = (names.FORMAT_JSON, names.FORMAT_CLOUDPICKLE, names.FORMAT_DSPY, names.FORMAT_CODE)
    if (
        not isinstance(digests, Mapping)
        or not all(isinstance(name, str) for name in digests)
        or not isinstance(section.get(names.KEY_MODEL_PATH), str)
        or (section.get(names.KEY_SERIALIZATION, known[0]) not in known)
    ):
        raise ModelFolderError(
            f"The model in {folder} is damaged: its MLmodel file does not say what it holds. It was "
            "half written or changed since; log or download it again."
        )
    for key in (names.KEY_MODEL_PATH, names.KEY_SETTINGS_PATH, names.KEY_STATE_PATH):
        if key in section:
            existing(folder, section[key])
    for name, digest in digests.items():
        path = existing(folder, name)
        if not path.is_file() or _digest(path) != digest:
            raise _changed(folder, name)
    # What DSPy has written is a folder, and all else a file.
    may_be_folder = section.get(names.KEY_SERIALIZATION) in (None, names.FORMAT_DSPY)
    for key in (names.KEY_MODEL_PATH, names.KEY_SETTINGS_PATH, names.KEY_STATE_PATH):
        is_folder = key in section and existing(folder, section[key]).is_dir()
        if key in section and section[key] not in digests and not (is_folder and may_be_folder):
            raise _changed(folder, section[key])


def _changed(folder: Path, name: str) -> ModelFolderError:
    return ModelFolderError(
        f"The model in {folder} is damaged: {name} is not what was saved. It was half written or changed since; log "
        "or download it again."
    )


def _check_format(folder: Path, found: Any) -> None:
    if type(found) is not int or not 1 <= found <= FORMAT:
        raise ModelFolderError(
            f"The model in {folder} has format {found!r}, but this release of {names.DISTRIBUTION} "
            f"reads formats up to {FORMAT}. Upgrade it: pip install -U {names.DISTRIBUTION}"
        )


def existing(folder: Path, name: str) -> Path:
    """The path of a file or folder that the model has to have."""
    path = inside(folder, name)
    if not path.exists():
        raise ModelFolderError(
            f"The model in {folder} is incomplete: {name} is missing. It was half written or half "
            "copied; log or download it again."
        )
    return path


def inside(folder: Path, name: str) -> Path:
    """The path of a file of the folder, refused where it leads out of it."""
    try:
        path = (folder / name).resolve()
        outside = not path.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        # No name that a file can have, or a link to itself.
        outside = True
    if outside:
        raise ModelFolderError(
            f"The model in {folder} names the file {name!r}, which lies outside of it. Do not use "
            "this folder: it was tampered with."
        )
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""How a program stands in a model folder: as plain data, pickled, as DSPy saves it, or as its own code."""

import json
import logging
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError, ProgramError
from mlflow_dspy_plugin.packaging.format import existing
from mlflow_dspy_plugin.packaging.from_code import CodeModel, lay_over, run_code
from mlflow_dspy_plugin.packaging.unpickle import python_that_saved, unpickle
from mlflow_dspy_plugin.plain.audit import Audit
from mlflow_dspy_plugin.plain.document import make_document, parse_document, write_document
from mlflow_dspy_plugin.plain.encode import Encoder
from mlflow_dspy_plugin.plain.nodes import NotPlain
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.scrubbing.pickler import check_bytes, pickle_without_secrets
from mlflow_dspy_plugin.seams.older_dspy import complete
from mlflow_dspy_plugin.seams.programs import save_whole_program

_logger = logging.getLogger(__name__)

Settings = dict[str, Any]
_ADVICE = (
    "Define classes and functions at the top level of a module, keep connections, locks and lambdas out of "
    "attributes (make them in `forward`, or in `__init__` from attributes named as its arguments)"
)


@dataclass(frozen=True)
class Contents:
    """What was written of a program.

    Attributes:
        section: What the flavor's section of the MLmodel file says of it.
        left_out: The places whose values were left out, see `Scrubber`.
        secrets: Values that were left out and must stand nowhere else, by the words that name them.
    """

    section: dict[str, Any]
    left_out: Mapping[str, str | None] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


def write_contents(
    model: dspy.Module | CodeModel, settings: Settings, folder: Path, serialization_format: str | None, by_dspy: bool
) -> Contents:
    """Write a program and its settings below `folder/data`.

    Args:
        model: The program, or the code that makes it.
        settings: The settings to save with it.
        folder: The model folder.
        serialization_format: "json", "cloudpickle", or None for the first of them that can hold it.
        by_dspy: Save it as DSPy's own `Module.save` does.

    Raises:
        ProgramError: If the format cannot hold the program.
        SecretError: If a secret sits where it cannot be left out.
    """
    (folder / "data").mkdir()
    if isinstance(model, CodeModel):
        return _write_code(model, settings, folder)
    if by_dspy:
        return _write_by_dspy(model, settings, folder)
    if serialization_format == names.FORMAT_CLOUDPICKLE:
        return _write_pickle(model, settings, folder)
    try:
        return _write_json(model, settings, folder)
    except NotPlain as reason:
        if serialization_format == names.FORMAT_JSON:
            raise ProgramError(
                f"The program cannot be saved as plain data: {reason}. {_ADVICE}; or leave serialization_format out, "
                "and it is pickled."
            ) from reason
        _logger.warning(
            "The program is saved with cloudpickle, since it is not all plain data: %s. Loading it will run pickled "
            "code. %s; or give serialization_format='cloudpickle' if that is meant.",
            redact_text(str(reason)),
            _ADVICE,
        )
        return _write_pickle(model, settings, folder)


@dataclass(frozen=True)
class Opened:
    """The contents of a folder before anything of them is made.

    Attributes:
        folder: The model folder.
        section: The flavor's section of its MLmodel file.
        parsed: Its plain data; None if it has none.
        audited: What the audit found in that.
    """

    folder: Path
    section: Mapping[str, Any]
    parsed: dict[str, Any] | None = None
    audited: Audit | None = None

    def file(self, key: str) -> Path:
        """The path that the section has under a key."""
        return existing(self.folder, self.section[key])


def open_contents(folder: Path, section: Mapping[str, Any]) -> Opened:
    """Parse and audit the plain data of a folder, if it has any; check the folder first.

    Raises:
        ModelFolderError: If it is damaged, or names what a model may not.
    """
    by_format = {names.FORMAT_JSON: names.KEY_MODEL_PATH, names.FORMAT_CODE: names.KEY_SETTINGS_PATH}
    opened = Opened(folder, section)
    key = by_format.get(section.get(names.KEY_SERIALIZATION, ""))
    if key is None or key not in section:
        return opened
    return Opened(folder, section, *parse_document(opened.file(key).read_bytes()))


def read_contents(opened: Opened, model_config: Mapping[str, Any]) -> tuple[dspy.Module, Settings]:
    """The program and the settings that a folder holds.

    Args:
        opened: The folder.
        model_config: What code is run with.
    """
    # FORMAT 1 did not say how: pickled, unless the settings stand beside the program.
    default = names.FORMAT_DSPY if names.KEY_SETTINGS_PATH in opened.section else names.FORMAT_CLOUDPICKLE
    serialization = opened.section.get(names.KEY_SERIALIZATION, default)
    if serialization == names.FORMAT_CODE:
        program, settings = _read_code(opened, model_config)
    else:
        program, settings = _READERS[serialization](opened)
    complete(program, settings)
    return program, settings


# -- plain data ---------------------------------------------------------------------------------


def _write_json(program: dspy.Module | None, settings: Settings, folder: Path) -> Contents:
    encoder = Encoder()
    data = write_document(program, settings, encoder)
    secrets = encoder.scrubber.known_secrets()
    check_bytes(data, "the saved program", secrets)
    (folder / names.DOCUMENT_FILE).write_bytes(data)
    section = {names.KEY_SERIALIZATION: names.FORMAT_JSON, names.KEY_MODEL_PATH: names.DOCUMENT_FILE}
    return Contents(section, encoder.scrubber.left_out, secrets)


def _read_json(opened: Opened) -> Any:
    document = make_document(opened.parsed, opened.audited)
    if not isinstance(document.program, dspy.Module):
        raise ModelFolderError(
            f"The model in {opened.folder} is damaged: it holds no dspy.Module. Log or download it again."
        )
    return document.program, document.settings


# -- pickles ------------------------------------------------------------------------------------


def _write_pickle(program: dspy.Module, settings: Settings, folder: Path) -> Contents:
    pickled = pickle_without_secrets({"program": program, "settings": settings})
    (folder / names.PROGRAM_FILE).write_bytes(pickled.data)
    section = {names.KEY_SERIALIZATION: names.FORMAT_CLOUDPICKLE, names.KEY_MODEL_PATH: names.PROGRAM_FILE}
    return Contents(section, pickled.left_out, pickled.secrets)


def _read_pickle(opened: Opened) -> Any:
    saved = unpickle(opened.file(names.KEY_MODEL_PATH).read_bytes(), python_that_saved(opened.folder))
    return saved["program"], saved["settings"]


def _write_by_dspy(program: dspy.Module, settings: Settings, folder: Path) -> Contents:
    # DSPy's `save` would write every secret: it gets the copy that has none.
    pickled = pickle_without_secrets({"program": program, "settings": settings})
    clean = pickle.loads(pickled.data)
    save_whole_program(clean["program"], folder / names.DSPY_SAVED_FOLDER)
    (folder / names.SETTINGS_FILE).write_bytes(pickle_without_secrets(clean["settings"]).data)
    section = {
        names.KEY_SERIALIZATION: names.FORMAT_DSPY,
        names.KEY_MODEL_PATH: names.DSPY_SAVED_FOLDER,
        names.KEY_SETTINGS_PATH: names.SETTINGS_FILE,
    }
    return Contents(section, pickled.left_out, pickled.secrets)


def _read_by_dspy(opened: Opened) -> Any:
    python = python_that_saved(opened.folder)
    program = existing(opened.folder, f"{opened.section[names.KEY_MODEL_PATH]}/program.pkl")
    settings = opened.file(names.KEY_SETTINGS_PATH)
    return unpickle(program.read_bytes(), python), unpickle(settings.read_bytes(), python)


# -- code ---------------------------------------------------------------------------------------


def _write_code(model: CodeModel, settings: Settings, folder: Path) -> Contents:
    (folder / names.CODE_FILE).write_text(model.text, encoding="utf-8")
    section = {names.KEY_SERIALIZATION: names.FORMAT_CODE, names.KEY_MODEL_PATH: names.CODE_FILE}
    if model.state is not None:
        (folder / names.STATE_FILE).write_text(json.dumps(model.state, indent=1), encoding="utf-8")
        section[names.KEY_STATE_PATH] = names.STATE_FILE
    try:
        written = _write_json(None, settings, folder)
    except NotPlain as reason:
        _logger.warning(
            "DSPy's settings are not saved: %s. Call dspy.configure in the model's code.", redact_text(str(reason))
        )
        return Contents(section, model.left_out)
    section[names.KEY_SETTINGS_PATH] = names.DOCUMENT_FILE
    return Contents(section, {**model.left_out, **written.left_out}, written.secrets)


def _read_code(opened: Opened, model_config: Mapping[str, Any]) -> Any:
    settings = make_document(opened.parsed, opened.audited).settings if opened.audited else {}
    try:
        program = run_code(opened.file(names.KEY_MODEL_PATH), model_config)
        if names.KEY_STATE_PATH in opened.section:
            lay_over(program, json.loads(opened.file(names.KEY_STATE_PATH).read_text(encoding="utf-8")))
    except ProgramError as error:
        if isinstance(error.__cause__, ImportError):
            raise error.__cause__ from None
        raise ModelFolderError(f"The model in {opened.folder} cannot be made here. {error.message}") from error
    return program, settings


_READERS: Mapping[str, Callable[[Opened], Any]] = {
    names.FORMAT_JSON: _read_json,
    names.FORMAT_CLOUDPICKLE: _read_pickle,
    names.FORMAT_DSPY: _read_by_dspy,
}

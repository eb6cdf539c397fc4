"""Reads models that the flavor which MLflow ships has saved, in both of its formats."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy
from packaging.version import Version

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.packaging.format import existing
from mlflow_dspy_plugin.packaging.unpickle import python_that_saved, unpickle
from mlflow_dspy_plugin.seams.older_dspy import complete

_DEFAULT_MODEL_PATH = "data/model.pkl"
_SETTINGS_FILE = "data/dspy_config.pkl"
_PROGRAM_FILE_OF_DSPY = "program.pkl"
# The tracer of that flavor travels in its models; loaded, it would trace every call twice.
_TRACER_MODULE = "mlflow.dspy.callback"
# What unpickling raises where a class has another place or another shape.
_UNFIT = (AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError, pickle.UnpicklingError)


def read(folder: Path, section: Mapping[str, Any]) -> tuple[dspy.Module, dict[str, Any]]:
    """The program and the settings of a model folder.

    Args:
        folder: The model folder.
        section: The dspy section of its MLmodel file.

    Raises:
        ModelFolderError: If the files it names are missing, if a newer DSPy has saved what this one cannot read, or
            if it holds code of the user's that another Python has compiled.
    """
    try:
        program, settings = _read(folder, existing(folder, section.get(names.KEY_MODEL_PATH, _DEFAULT_MODEL_PATH)))
    except _UNFIT as error:
        saved = _dspy_that_saved(folder)
        if saved is None or saved <= Version(dspy.__version__):
            raise
        raise ModelFolderError(
            f"The model in {folder} was saved with dspy {saved}, and this is dspy {dspy.__version__}, which cannot "
            f"read it ({error}). Upgrade it: pip install 'dspy>={saved}'"
        ) from error
    complete(program, settings)
    return program, _without_tracer(settings)


def _read(folder: Path, path: Path) -> tuple[dspy.Module, Mapping[str, Any]]:
    python = python_that_saved(folder)
    if path.suffix == ".pkl":
        # A wrapper object of mlflow.dspy.wrapper, which stays importable.
        wrapper = unpickle(path.read_bytes(), python)
        return wrapper.model, wrapper.dspy_settings
    settings = unpickle(existing(folder, _SETTINGS_FILE).read_bytes(), python)
    return unpickle(existing(path, _PROGRAM_FILE_OF_DSPY).read_bytes(), python), settings


def _dspy_that_saved(folder: Path) -> Version | None:
    """The DSPy that saved the model: that flavor keeps it nowhere but among the requirements."""
    requirements = existing(folder, "requirements.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^dspy==([\w.]+)", requirements, re.MULTILINE)
    return Version(pinned[1]) if pinned else None


def _without_tracer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were set; that flavor saves all of them, and a None would hide the user's."""
    callbacks = [c for c in settings.get("callbacks") or () if type(c).__module__ != _TRACER_MODULE]
    kept = {name: value for name, value in settings.items() if value is not None}
    return {**kept, "callbacks": callbacks}

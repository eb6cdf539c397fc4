"""Reads models that the flavor which MLflow ships has saved, in both of its formats."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.packaging.format import existing
from mlflow_dspy_plugin.seams.programs import load_whole_program

_DEFAULT_MODEL_PATH = "data/model.pkl"
_SETTINGS_FILE = "data/dspy_config.pkl"
# The tracer of that flavor travels in its models; loaded, it would trace every call twice.
_TRACER_MODULE = "mlflow.dspy.callback"


def read(folder: Path, section: Mapping[str, Any]) -> tuple[dspy.Module, dict[str, Any]]:
    """The program and the settings of a model folder.

    Args:
        folder: The model folder.
        section: The dspy section of its MLmodel file.

    Raises:
        ModelFolderError: If the files it names are missing.
    """
    path = existing(folder, section.get(names.KEY_MODEL_PATH, _DEFAULT_MODEL_PATH))
    if path.suffix == ".pkl":
        # A wrapper object of mlflow.dspy.wrapper, which stays importable.
        wrapper = pickle.loads(path.read_bytes())
        return wrapper.model, _without_tracer(wrapper.dspy_settings)
    settings = pickle.loads(existing(folder, _SETTINGS_FILE).read_bytes())
    return load_whole_program(path), _without_tracer(settings)


def _without_tracer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that were set; that flavor saves all of them, and a None would hide the user's."""
    callbacks = [c for c in settings.get("callbacks") or () if type(c).__module__ != _TRACER_MODULE]
    kept = {name: value for name, value in settings.items() if value is not None}
    return {**kept, "callbacks": callbacks}

"""`load_model`: a model folder becomes a program again. Checked first, then unpickled."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dspy
import yaml
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.packaging import core_models
from mlflow_dspy_plugin.packaging import format as folder_format
from mlflow_dspy_plugin.packaging.arguments import check_configure
from mlflow_dspy_plugin.packaging.missing import check_modules
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam
from mlflow_dspy_plugin.seams.dspy import fill_settings, load_whole_program


@dataclass(frozen=True)
class LoadedModel:
    """A program that came back from a folder.

    Attributes:
        program: The DSPy program.
        settings: DSPy's settings as they were when it was saved, without what was left out.
        task: The task that it was logged with, if any.
    """

    program: dspy.Module
    settings: Mapping[str, Any]
    task: str | None


def load_model(
    model_uri: str, dst_path: str | None = None, configure: bool | Literal["if-unset"] = "if-unset"
) -> dspy.Module:
    """Load a DSPy program from a model, and DSPy's settings with it.

    Each setting (language model, adapter, retriever, ...) that nobody has set in this process gets
    the value it had when the model was saved; `configure` changes that. API keys are not saved: set their environment
    variables (OPENAI_API_KEY and so on) before the program is called.

    Args:
        model_uri: Where the model is: `runs:/<run_id>/<name>`, `models:/<name>/<version>`,
            `models:/<model_id>`, a local folder, or any other URI that MLflow downloads.
        dst_path: The local folder to download to; a temporary one by default.
        configure: True sets all saved settings, over those that you have set; False sets none.

    Returns:
        The program.

    Raises:
        ModelFolderError: If the model is missing, half written, damaged, of another flavor, or of
            a format that a newer release has written.
        InputError: If `configure` is none of the three.
    """
    check_configure(configure)
    folder = _download(model_uri, dst_path)
    loaded = read_folder(folder)
    fill_settings(dict(loaded.settings), configure)
    mlflow_seam.link_active_model(Model.load(str(folder)))
    return loaded.program


def read_folder(folder: str | Path) -> LoadedModel:
    """Read a local model folder, of this flavor or of the one that MLflow ships.

    Raises:
        ModelFolderError: See `load_model`.
    """
    folder = Path(folder)
    section = _section_of(folder)
    by_core = names.KEY_FORMAT not in section
    if not by_core:
        folder_format.check_folder(folder, section)
    _check_pickle_allowed(folder)
    if code := section.get(names.KEY_CODE):
        folder_format.existing(folder, code)
    mlflow_seam.add_code_to_path(str(folder), section)
    check_modules(section.get(names.KEY_MODULES, {}), folder)
    program, settings = _unpickle(core_models.read if by_core else _read, folder, section)
    return LoadedModel(program, settings, section.get(names.KEY_TASK))


def _unpickle(
    read: Callable[..., tuple[dspy.Module, dict[str, Any]]], folder: Path, section: Mapping[str, Any]
) -> tuple[dspy.Module, dict[str, Any]]:
    """Read the program and the settings, and say what to do where that fails."""
    try:
        return read(folder, section)
    except ModuleNotFoundError as error:
        raise ModelFolderError(
            f"The model in {folder} needs the module {error.name!r}, which cannot be imported here. "
            f"Install the model's requirements: pip install -r {folder / 'requirements.txt'}; a "
            "module of your own has to be on the Python path, or logged with code_paths=[...]."
        ) from error
    except (AttributeError, ImportError) as error:
        raise ModelFolderError(
            f"The model in {folder} needs code that is different here ({error}). It was saved with "
            f"dspy {section.get(names.KEY_DSPY_VERSION, 'of an unknown version')}, and this is dspy "
            f"{dspy.__version__}. Install the model's requirements: pip install -r "
            f"{folder / 'requirements.txt'}; or bring your own modules to the state they had then."
        ) from error
    except (EOFError, pickle.UnpicklingError) as error:
        raise ModelFolderError(
            f"The model in {folder} is damaged ({error}). It was half written or half copied; log or download it again."
        ) from error


def _read(folder: Path, section: Mapping[str, Any]) -> tuple[dspy.Module, dict[str, Any]]:
    path = folder_format.inside(folder, section[names.KEY_MODEL_PATH])
    if names.KEY_SETTINGS_PATH not in section:
        saved = pickle.loads(path.read_bytes())
        return saved["program"], saved["settings"]
    settings = folder_format.inside(folder, section[names.KEY_SETTINGS_PATH])
    return load_whole_program(path), pickle.loads(settings.read_bytes())


def _download(model_uri: str, dst_path: str | None) -> Path:
    try:
        return mlflow_seam.download(model_uri, dst_path)
    except (MlflowException, OSError) as error:
        raise ModelFolderError(
            f"There is no model at {str(model_uri)!r} ({error}). Give a folder that exists, "
            "runs:/<run_id>/<name>, models:/<name>/<version or @alias>, or models:/<model_id>, and "
            "check mlflow.get_tracking_uri()."
        ) from error


def _section_of(folder: Path) -> dict[str, Any]:
    """The flavor's section of the MLmodel file."""
    path = folder / MLMODEL_FILE_NAME
    if not path.is_file():
        raise ModelFolderError(
            f"{folder} is no complete MLflow model: it has no {MLMODEL_FILE_NAME} file. Give the "
            "folder that holds it; if saving was interrupted, save again."
        )
    try:
        flavors = yaml.safe_load(path.read_text(encoding="utf-8"))["flavors"]
        section = flavors.get(names.FLAVOR)
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(
            f"The {MLMODEL_FILE_NAME} file in {folder} cannot be read ({error}). It was half "
            "written or changed since; log or download the model again."
        ) from error
    if not isinstance(section, dict):
        raise ModelFolderError(
            f"The model in {folder} has no dspy flavor; it has: {', '.join(sorted(flavors))}. "
            "Load it with the module of its own flavor, or with mlflow.pyfunc.load_model."
        )
    return section


def _check_pickle_allowed(folder: Path) -> None:
    """Refuse pickled models where the environment forbids them, before any code path is added."""
    if os.environ.get(names.ENV_ALLOW_PICKLE, "true").strip().lower() in ("false", "0"):
        raise ModelFolderError(
            f"The model in {folder} is pickled, and {names.ENV_ALLOW_PICKLE} is false here. Set it "
            "to true if you trust whoever logged this model."
        )

"""Reads the MLmodel file of a folder."""

from pathlib import Path
from typing import Any

import yaml
from mlflow.exceptions import MlflowException
from mlflow.models.model import MLMODEL_FILE_NAME

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.packaging import format as folder_format
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam


def download(model_uri: str, dst_path: str | None = None) -> Path:
    """The local folder of a model.

    Raises:
        ModelFolderError: If there is none.
    """
    try:
        return mlflow_seam.download(model_uri, dst_path)
    except (MlflowException, OSError) as error:
        raise ModelFolderError(
            f"There is no model at {str(model_uri)!r} ({error}). Give a folder that exists, "
            "runs:/<run_id>/<name>, models:/<name>/<version or @alias>, or models:/<model_id>, and "
            "check mlflow.get_tracking_uri()."
        ) from error


def section_of(folder: Path) -> dict[str, Any]:
    """The flavor's section of the MLmodel file, with the model's configuration under `model_config`.

    Raises:
        ModelFolderError: If the file is missing, damaged, or of a model of another flavor.
    """
    flavors = _flavors_of(folder)
    section = flavors.get(names.FLAVOR)
    if not isinstance(section, dict):
        raise ModelFolderError(
            f"The model in {folder} has no dspy flavor; it has: {', '.join(sorted(flavors))}. "
            "Load it with the module of its own flavor, or with mlflow.pyfunc.load_model."
        )
    folder_format.check_section(folder, section)
    pyfunc = flavors.get("python_function")
    config = pyfunc.get("config") if isinstance(pyfunc, dict) else None
    return {**section, names.KEY_MODEL_CONFIG: config if isinstance(config, dict) else {}}


def _flavors_of(folder: Path) -> dict[str, Any]:
    path = folder / MLMODEL_FILE_NAME
    if not path.is_file():
        raise ModelFolderError(
            f"{folder} is no complete MLflow model: it has no {MLMODEL_FILE_NAME} file. Give the "
            "folder that holds it; if saving was interrupted, save again."
        )
    try:
        flavors = yaml.safe_load(path.read_text(encoding="utf-8"))["flavors"]
        return {str(name): value for name, value in flavors.items()}
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFolderError(
            f"The {MLMODEL_FILE_NAME} file in {folder} cannot be read ({error}). It was half "
            "written or changed since; log or download the model again."
        ) from error

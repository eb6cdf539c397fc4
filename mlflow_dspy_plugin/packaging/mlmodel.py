"""Reads the MLmodel file of a folder."""

from pathlib import Path
from typing import Any

import yaml
from mlflow.exceptions import MlflowException
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.packaging import format as folder_format
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam

_DEEPEST = 50


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


def read_mlmodel(folder: Path) -> dict[str, Any]:
    """The MLmodel file of a folder, read once: a YAML file takes longer than the program beside it.

    Raises:
        ModelFolderError: If the file is missing or damaged.
    """
    path = folder / MLMODEL_FILE_NAME
    if not path.is_file():
        raise ModelFolderError(
            f"{folder} is no complete MLflow model: it has no {MLMODEL_FILE_NAME} file. Give the "
            "folder that holds it; if saving was interrupted, save again."
        )
    try:
        mlmodel = _parse(path.read_text(encoding="utf-8"))
        return {**mlmodel, "flavors": dict(mlmodel["flavors"])}
    except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFolderError(
            f"The {MLMODEL_FILE_NAME} file in {folder} cannot be read ({error}). It was half "
            "written or changed since; log or download the model again."
        ) from error


def registered_name(folder: Path) -> str | None:
    """The name of the registered model that a folder was downloaded as, if it was."""
    return _registered(folder, "model_name")


def registered_version(folder: Path) -> str | None:
    """Its version, if it was."""
    return _registered(folder, "model_version")


def _registered(folder: Path, key: str) -> str | None:
    path = folder / REGISTERED_MODEL_META_FILE_NAME
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return str(told) if isinstance(told, (str, int)) else None


def _parse(text: str) -> Any:
    """The content of a YAML file, by libyaml where it is there: in Python it would take most of the loading."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            # libyaml would crash the process.
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    return yaml.load(text, Loader=loader)


def section_of(mlmodel: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The flavor's section of an MLmodel file, with the model's configuration under `model_config`.

    Raises:
        ModelFolderError: If it is of a model of another flavor.
    """
    flavors = mlmodel["flavors"]
    section = flavors.get(names.FLAVOR)
    if not isinstance(section, dict):
        raise ModelFolderError(
            f"The model in {folder} has no dspy flavor; it has: {', '.join(sorted(map(str, flavors)))}. "
            "Load it with the module of its own flavor, or with mlflow.pyfunc.load_model."
        )
    folder_format.check_section(folder, section)
    served = flavors.get("python_function")
    config = served.get("config") if isinstance(served, dict) else None
    return {**section, names.KEY_MODEL_CONFIG: config if isinstance(config, dict) else {}}

"""MLflow's names that are private or differ between releases."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow.environment_variables import MLFLOW_LOCK_MODEL_DEPENDENCIES
from mlflow.models.dependencies_schemas import _get_dependencies_schemas
from mlflow.models.model import _update_active_model_id_based_on_mlflow_model
from mlflow.models.resources import _ResourceBuilder
from mlflow.models.utils import _load_model_code_path, _save_example
from mlflow.tracing.provider import _get_trace_exporter
from mlflow.tracking._model_registry import DEFAULT_AWAIT_MAX_SLEEP_SECONDS
from mlflow.tracking.artifact_utils import _download_artifact_from_uri
from mlflow.tracking.fluent import _get_active_model_context
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS, get_autologging_config
from mlflow.utils.environment import (
    _CONDA_ENV_FILE_NAME,
    _CONSTRAINTS_FILE_NAME,
    _PYTHON_ENV_FILE_NAME,
    _REQUIREMENTS_FILE_NAME,
    _generate_mlflow_version_pinning,
    _mlflow_conda_env,
    _process_conda_env,
    _process_pip_requirements,
    _PythonEnv,
)
from mlflow.utils.file_utils import get_total_file_size
from mlflow.utils.model_utils import (
    _add_code_from_conf_to_system_path,
    _validate_and_copy_code_paths,
)
from mlflow.utils.requirements_utils import _get_pinned_requirement

from mlflow_dspy_plugin.boundary import ask_before_speaking
from mlflow_dspy_plugin.names import FLAVOR

AWAIT_REGISTRATION_SECONDS = DEFAULT_AWAIT_MAX_SLEEP_SECONDS
CONDA_ENV_FILE = _CONDA_ENV_FILE_NAME
PYTHON_ENV_FILE = _PYTHON_ENV_FILE_NAME
# How MLflow calls the module of a script that it runs as a model's code.
MODEL_CODE_PREFIX = "code_model_"
# A script may load another model from code.
_RUNNING_CODE = threading.RLock()

add_code_to_path = _add_code_from_conf_to_system_path
conda_env_of = _mlflow_conda_env
copy_code_paths = _validate_and_copy_code_paths
link_active_model = _update_active_model_id_based_on_mlflow_model
pinned_requirement = _get_pinned_requirement
save_example = _save_example
size_of = get_total_file_size


def run_model_code(path: str, model_config: dict[str, Any]) -> Any:
    """Run a script as a model's code; returns what it hands to `mlflow.models.set_model`."""
    # MLflow keeps the last one, and its configuration, in variables of modules: a script that sets none would have it.
    with _RUNNING_CODE:
        before = mlflow.models.model.__mlflow_model__
        mlflow.models.model.__mlflow_model__ = None
        try:
            return _load_model_code_path(path, model_config)
        finally:
            mlflow.models.model.__mlflow_model__ = before


def download(uri: str, folder: str | None) -> Path:
    """The local folder of a model, downloaded into `folder` where it is not local."""
    return Path(_download_artifact_from_uri(artifact_uri=str(uri), output_path=folder))


def dependencies_metadata() -> dict[str, Any]:
    """What `mlflow.models.set_retriever_schema` and its like have set for the model being logged."""
    with _get_dependencies_schemas() as schemas:
        return schemas.to_dict() or {}


def serialize_resources(resources: Any) -> dict[str, Any]:
    """Databricks resources, or the YAML file that lists them, as an MLmodel file holds them."""
    if isinstance(resources, (str, Path)):
        return _ResourceBuilder.from_yaml_file(resources)
    return _ResourceBuilder.from_resources(resources)


def write_environment(
    folder: Path,
    default_requirements: list[str],
    conda_env: Any,
    pip_requirements: Any,
    extra_pip_requirements: Any,
    scrub: Callable[[Any, str], Any],
) -> None:
    """Write the files from which MLflow builds the environment of a model.

    Args:
        folder: The model folder.
        default_requirements: The pip requirements where none are given.
        conda_env: See `save_model`, as for those below.
        pip_requirements: In place of the default ones.
        extra_pip_requirements: Beside the default ones.
        scrub: Leaves secrets out of (a value, at a place).
    """
    given = (conda_env, pip_requirements, extra_pip_requirements)
    if given == (None, None, None) and not MLFLOW_LOCK_MODEL_DEPENDENCIES.get():
        # What is pinned as installed needs no comparison with what is installed, which reads all of it.
        requirements, constraints = [_generate_mlflow_version_pinning(), *default_requirements], []
        conda = _mlflow_conda_env(additional_pip_deps=requirements, install_mlflow=False)
    elif conda_env is None:
        conda, requirements, constraints = _process_pip_requirements(
            default_requirements, pip_requirements, extra_pip_requirements
        )
    else:
        conda, requirements, constraints = _process_conda_env(conda_env)
    conda = scrub(conda, "conda_env")
    (folder / _CONDA_ENV_FILE_NAME).write_text(yaml.safe_dump(conda, default_flow_style=False))
    if constraints:
        (folder / _CONSTRAINTS_FILE_NAME).write_text("\n".join(scrub(constraints, "constraints")))
    (folder / _REQUIREMENTS_FILE_NAME).write_text("\n".join(scrub(requirements, "requirements")))
    _PythonEnv.current().to_yaml(str(folder / _PYTHON_ENV_FILE_NAME))


def record_autologging(integration: str, config: Mapping[str, Any]) -> None:
    """Tell MLflow's table of integrations, which `mlflow.autolog` asks, what is set.

    MLflow's own decorator is passed by: it binds an integration to the DSPy releases that MLflow
    was tested with.
    """
    AUTOLOGGING_INTEGRATIONS[integration] = dict(config)


def _is_silent() -> bool:
    return bool(get_autologging_config(FLAVOR, "silent", False))


ask_before_speaking(_is_silent)


def has_user_set_active_model() -> bool:
    """Whether the user has named the model that traces are linked to."""
    return bool(_get_active_model_context().set_by_user)


def flush_traces() -> None:
    """Wait until the traces that have ended are stored.

    MLflow's own function logs an error where its exporter has no queue: where logging is not
    asynchronous, and before the first trace.
    """
    if hasattr(_trace_exporter(), "_async_queue"):
        mlflow.flush_trace_async_logging()


def _trace_exporter() -> Any:
    # MLflow 3.4 looks for it where tracing is off, too.
    with contextlib.suppress(AttributeError):
        return _get_trace_exporter()
    return None


def implementation_of(model: Any) -> Any:
    """What the flavor of a pyfunc model has loaded; None of a model that another process has."""
    return getattr(model, "_model_impl", None)

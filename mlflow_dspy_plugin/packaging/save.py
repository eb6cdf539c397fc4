"""`save_model` and `log_model`: a program becomes an MLflow model."""

import contextlib
import logging
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dspy
import mlflow.pyfunc
from mlflow.models import Model, ModelInputExample, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from mlflow.models.resources import Resource

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError, SecretError
from mlflow_dspy_plugin.packaging import format as folder_format
from mlflow_dspy_plugin.packaging.arguments import (
    check_example,
    check_program,
    check_prompts,
    check_registered_name,
    check_signature,
    check_task,
    inputs_of_example,
)
from mlflow_dspy_plugin.packaging.fields import Fields, fields_of
from mlflow_dspy_plugin.packaging.modules import needs_of
from mlflow_dspy_plugin.packaging.own_code import ship_code
from mlflow_dspy_plugin.packaging.requirements import requirements_of
from mlflow_dspy_plugin.packaging.schema import signature_of, streams
from mlflow_dspy_plugin.packaging.scrub import Pickled, check_bytes, pickle_without_secrets
from mlflow_dspy_plugin.packaging.scrubber import Scrubber
from mlflow_dspy_plugin.redaction import redact_text, secret_texts
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam
from mlflow_dspy_plugin.seams.dspy import current_settings, save_whole_program

_logger = logging.getLogger(__name__)

# What `Model.log` learns from the folder that was saved before.
_SAVED_ATTRIBUTES = ("flavors", "signature", "saved_input_example_info", "model_size_bytes")


def save_model(
    model: dspy.Module,
    path: str | Path,
    task: str | None = None,
    model_config: dict[str, Any] | None = None,
    code_paths: list[str] | None = None,
    mlflow_model: Model | None = None,
    conda_env: dict[str, Any] | str | None = None,
    signature: ModelSignature | None = None,
    input_example: ModelInputExample | None = None,
    pip_requirements: list[str] | str | None = None,
    extra_pip_requirements: list[str] | str | None = None,
    metadata: dict[str, Any] | None = None,
    resources: str | Path | list[Resource] | None = None,
    use_dspy_model_save: bool = False,
    infer_code_paths: bool = True,
) -> None:
    """Save a DSPy program as an MLflow model in a local folder, with DSPy's settings beside it.

    The program is not run, and no secret is written: API keys, authorization headers and past
    prompts stay behind, and are taken from the environment where the model is loaded.

    Args:
        model: The program, compiled or not.
        path: The folder to write; it must not exist or be empty.
        task: None, or `"llm/v1/chat"` for a program that takes a list of chat messages.
        model_config: Configuration kept with the model; `mlflow.pyfunc.load_model` hands it on.
        code_paths: Files and folders of Python code to ship, put on `sys.path` when loading.
        mlflow_model: The `Model` to add the flavor to; a new one by default.
        conda_env: The conda environment of the model, as a dict or the path of a YAML file.
        signature: The model signature; read from the program's DSPy signature by default.
        input_example: One input: a dict of the program's fields, a DataFrame of one row, or a
            bare string for a program of one input.
        pip_requirements: The pip requirements, in place of those found by looking at the program.
        extra_pip_requirements: pip requirements beside those found.
        metadata: Custom metadata for the MLmodel file.
        resources: Databricks resources that the model needs, or a YAML file that lists them.
        use_dspy_model_save: Save the program by `dspy.Module.save(save_program=True)`.
        infer_code_paths: Ship the modules of the user's own that the program needs, as `code_paths`
            ships others; those of installed packages are requirements.

    Raises:
        ProgramError: If `model` is no `dspy.Module`, the task is unknown, the signature has no
            inputs, or the program cannot be pickled.
        InputError: If the input example does not fit the program's fields.
        SecretError: If a secret sits where it cannot be left out.
        ModelFolderError: If the folder exists and is not empty.
    """
    check_program(model)
    check_task(task)
    check_signature(signature)
    fields = fields_of(model)
    if isinstance(input_example, dspy.Example):
        input_example = inputs_of_example(input_example)
    if task is None:
        check_example(input_example, fields)
    with _new_folder(path) as folder:
        mlflow_model = Model() if mlflow_model is None else mlflow_model
        _describe(mlflow_model, fields, task, signature, input_example, folder)
        _add_metadata(mlflow_model, metadata, resources)
        settings = current_settings()
        pickled = pickle_without_secrets({"program": model, "settings": settings})
        needs = needs_of(model, settings)
        code = ship_code(folder, code_paths, needs.own if infer_code_paths else ())
        section = {
            names.KEY_CODE: code,
            names.KEY_MODULES: needs.at_load(),
            **_write_program(pickled, folder, use_dspy_model_save),
            **_fields_section(fields, task),
        }
        _add_flavors(mlflow_model, folder, section, model_config, streams(fields.outputs))
        mlflow_seam.write_environment(
            folder, requirements_of(needs), conda_env, pip_requirements, extra_pip_requirements
        )
        mlflow_model.save(str(folder / MLMODEL_FILE_NAME))
        _check_no_secret_below(folder, pickled.secrets)


def log_model(
    dspy_model: dspy.Module,
    artifact_path: str | None = None,
    task: str | None = None,
    model_config: dict[str, Any] | None = None,
    code_paths: list[str] | None = None,
    conda_env: dict[str, Any] | str | None = None,
    signature: ModelSignature | None = None,
    input_example: ModelInputExample | None = None,
    registered_model_name: str | None = None,
    await_registration_for: int = mlflow_seam.AWAIT_REGISTRATION_SECONDS,
    pip_requirements: list[str] | str | None = None,
    extra_pip_requirements: list[str] | str | None = None,
    metadata: dict[str, Any] | None = None,
    resources: str | Path | list[Resource] | None = None,
    prompts: list[Any] | None = None,
    name: str | None = None,
    params: dict[str, Any] | None = None,
    tags: dict[str, Any] | None = None,
    model_type: str | None = None,
    step: int = 0,
    model_id: str | None = None,
    use_dspy_model_save: bool = False,
    infer_code_paths: bool = True,
) -> ModelInfo:
    """Log a DSPy program as an MLflow model.

    Args:
        dspy_model: The program, compiled or not.
        artifact_path: Deprecated by MLflow; use `name`.
        task: See `save_model`, as for every argument that is not listed here.
        model_config: See `save_model`.
        code_paths: See `save_model`.
        conda_env: See `save_model`.
        signature: See `save_model`.
        input_example: See `save_model`.
        registered_model_name: Register the model as a new version under this name too.
        await_registration_for: Seconds to wait for the version to be ready; 0 does not wait.
        pip_requirements: See `save_model`.
        extra_pip_requirements: See `save_model`.
        metadata: See `save_model`.
        resources: See `save_model`.
        prompts: Prompts of MLflow's registry, or their URIs, that the model uses.
        name: The name of the model.
        params: Parameters of the logged model.
        tags: Tags of the logged model.
        model_type: Type of the logged model, for searching.
        step: The step of the run at which the model is logged.
        model_id: The id of an existing logged model to fill.
        use_dspy_model_save: See `save_model`.
        infer_code_paths: See `save_model`.

    Returns:
        MLflow's `ModelInfo`; its `model_uri` loads the model.

    Raises:
        DspyPluginError: As `save_model` does, before anything is created in the tracking store.
    """
    check_registered_name(registered_model_name)
    check_prompts(prompts)
    with tempfile.TemporaryDirectory() as parent:
        # Saved first and on its own: what is refused is refused before a model is registered.
        saved = Path(parent, "model")
        save_model(
            dspy_model,
            saved,
            task=task,
            model_config=model_config,
            code_paths=code_paths,
            conda_env=conda_env,
            signature=signature,
            input_example=input_example,
            pip_requirements=pip_requirements,
            extra_pip_requirements=extra_pip_requirements,
            metadata=metadata,
            use_dspy_model_save=use_dspy_model_save,
            infer_code_paths=infer_code_paths,
        )
        return Model.log(
            artifact_path=artifact_path,
            flavor=_SavedFolder(saved),
            registered_model_name=registered_model_name,
            await_registration_for=await_registration_for,
            resources=resources,
            prompts=prompts,
            name=name,
            model_type=model_type,
            params=Scrubber().scrub(params, "params"),
            tags=Scrubber().scrub(tags, "tags"),
            step=step,
            model_id=model_id,
            model_config=Scrubber().scrub(model_config, "model_config"),
            # MLflow would run the program on the example, at the price of a call to its LM.
            validate_serving_input=False,
        )


class _SavedFolder:
    """A flavor, as `Model.log` takes one, that hands over a folder saved before."""

    __name__ = names.MLFLOW_FLAVOR_MODULE

    def __init__(self, folder: Path):
        self._folder = folder

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        shutil.copytree(self._folder, path, dirs_exist_ok=True)
        saved = Model.load(str(self._folder))
        for attribute in _SAVED_ATTRIBUTES:
            setattr(mlflow_model, attribute, getattr(saved, attribute))
        if saved.metadata:
            mlflow_model.metadata = {**saved.metadata, **(mlflow_model.metadata or {})}
        mlflow_model.save(str(Path(path, MLMODEL_FILE_NAME)))


@contextlib.contextmanager
def _new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill, which is as it was before if filling it fails."""
    folder = Path(path).absolute()
    existed = folder.exists()
    if existed and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelFolderError(f"The path {folder} already exists and is not empty. Give another one, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder)
        if existed:
            folder.mkdir()
        raise


def _describe(
    mlflow_model: Model,
    fields: Fields,
    task: str | None,
    signature: ModelSignature | None,
    example: Any,
    folder: Path,
) -> None:
    """Set the signature and the input example of the model."""
    saved = mlflow_seam.save_example(mlflow_model, example, str(folder))
    _redact_example(folder)
    if signature is None and task is not None:
        signature = mlflow_seam.TASK_SIGNATURES[task]
    if signature is None and mlflow_model.signature is None:
        bare = example[0] if isinstance(example, tuple) and len(example) == 2 else example
        data = bare if isinstance(bare, str) or saved is None else saved.inference_data
        signature = signature_of(fields, data)
    if signature is not None:
        mlflow_model.signature = signature


def _add_metadata(mlflow_model: Model, metadata: dict[str, Any] | None, resources: Any) -> None:
    merged = {
        **(mlflow_model.metadata or {}),
        **(metadata or {}),
        **mlflow_seam.dependencies_metadata(),
    }
    if merged:
        mlflow_model.metadata = Scrubber().scrub(merged, "metadata")
    if resources is not None:
        mlflow_model.resources = mlflow_seam.serialize_resources(resources)


def _write_program(pickled: Pickled, folder: Path, by_dspy: bool) -> dict[str, Any]:
    """Write the program and its settings; returns what the flavor's section says of them."""
    (folder / "data").mkdir()
    section: dict[str, Any] = {}
    if by_dspy:
        # DSPy's `save` would write every secret: it gets the copy that has none.
        clean = pickle.loads(pickled.data)
        save_whole_program(clean["program"], folder / names.DSPY_SAVED_FOLDER)
        settings = pickle_without_secrets(clean["settings"])
        (folder / names.SETTINGS_FILE).write_bytes(settings.data)
        section[names.KEY_MODEL_PATH] = names.DSPY_SAVED_FOLDER
        section[names.KEY_SETTINGS_PATH] = names.SETTINGS_FILE
    else:
        (folder / names.PROGRAM_FILE).write_bytes(pickled.data)
        section[names.KEY_MODEL_PATH] = names.PROGRAM_FILE
    if pickled.left_out:
        section[names.KEY_LEFT_OUT] = pickled.left_out
        _logger.warning(
            "Left out of the saved model, since they look like secrets: %s. Where it loads, language models read "
            "their keys from the environment; set anything else again.",
            ", ".join(pickled.left_out),
        )
    return section


def _fields_section(fields: Fields, task: str | None) -> dict[str, Any]:
    section: dict[str, Any] = {names.KEY_DSPY_VERSION: dspy.__version__}
    if fields.inputs is not None:
        section[names.KEY_INPUT_FIELDS] = list(fields.inputs)
    if fields.outputs is not None:
        section[names.KEY_OUTPUT_FIELDS] = list(fields.outputs)
    if task is not None:
        section[names.KEY_TASK] = task
    return section


def _add_flavors(
    mlflow_model: Model,
    folder: Path,
    section: dict[str, Any],
    model_config: dict[str, Any] | None,
    streamable: bool,
) -> None:
    if task := section.get(names.KEY_TASK):
        mlflow_model.metadata = {**(mlflow_model.metadata or {}), "task": task}
    mlflow_model.add_flavor(
        names.FLAVOR,
        **{names.KEY_FORMAT: folder_format.FORMAT},
        **{names.KEY_DIGESTS: folder_format.digests_of(folder)},
        **section,
    )
    mlflow.pyfunc.add_to_model(
        mlflow_model,
        # The name of the package, never of a module in it: models keep it for ever.
        loader_module=names.PACKAGE,
        code=section[names.KEY_CODE],
        conda_env=mlflow_seam.CONDA_ENV_FILE,
        python_env=mlflow_seam.PYTHON_ENV_FILE,
        model_config=Scrubber().scrub(model_config, "model_config"),
        streamable=streamable and task is None,
    )
    mlflow_model.model_size_bytes = mlflow_seam.size_of(str(folder))


def _check_no_secret_below(folder: Path, secrets: Mapping[str, str]) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            check_bytes(path.read_bytes(), name, secrets)
            if name.startswith(f"{names.CODE_FOLDER}/"):
                _check_code(path, name)


def _check_code(path: Path, name: str) -> None:
    """Refuse shipped code that holds what looks like a secret."""
    found = secret_texts(path.read_text(encoding="utf-8", errors="ignore"))
    # In code, `user:{password}@host` names a variable.
    if any("{" not in text for text in found):
        raise SecretError(
            f"The file {name} of code_paths holds a text that looks like a secret. Nothing was "
            "saved. Read it from the environment where it is used; or, if the file was not asked for, "
            "ship only what you name in code_paths, with infer_code_paths=False."
        )


def _redact_example(folder: Path) -> None:
    """Put out of sight what looks like a secret in the files of the input example."""
    for path in folder.glob("*input_example*.json"):
        path.write_text(redact_text(path.read_text(encoding="utf-8")), encoding="utf-8")

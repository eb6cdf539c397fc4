"""`save_model` and `log_model`: a program becomes an MLflow model."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import dspy
from mlflow.models import Model, ModelSignature
from mlflow.models.auth_policy import AuthPolicy
from mlflow.models.model import MLMODEL_FILE_NAME, ModelInfo
from mlflow.models.resources import Resource

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.needs.modules import needs_of
from mlflow_dspy_plugin.needs.own_code import ship_code
from mlflow_dspy_plugin.needs.requirements import requirements_of
from mlflow_dspy_plugin.needs.versions import versions_now
from mlflow_dspy_plugin.packaging import folder as model_folder
from mlflow_dspy_plugin.packaging.arguments import (
    InputExample,
    check_access,
    check_allowed_models,
    check_example,
    check_follow_prompts,
    check_format,
    check_program,
    check_prompts,
    check_registered_name,
    check_signature,
    check_task,
    inputs_of_example,
    read_model_config,
)
from mlflow_dspy_plugin.packaging.contents import write_contents
from mlflow_dspy_plugin.packaging.from_code import CodeModel, read_code_model
from mlflow_dspy_plugin.packaging.model_config import try_out
from mlflow_dspy_plugin.programs.chat_fields import chat_fields_of
from mlflow_dspy_plugin.programs.fields import Fields, fields_of
from mlflow_dspy_plugin.programs.keys import describe_lms
from mlflow_dspy_plugin.programs.task_signatures import TASK_SIGNATURES
from mlflow_dspy_plugin.scrubbing.scrubber import Scrubber
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam
from mlflow_dspy_plugin.seams.dspy import current_settings

# What `Model.log` learns from the folder that was saved before.
_SAVED_ATTRIBUTES = ("flavors", "signature", "saved_input_example_info", "model_size_bytes")


def save_model(
    model: dspy.Module | str | Path,
    path: str | Path,
    task: str | None = None,
    model_config: dict[str, Any] | str | Path | None = None,
    code_paths: list[str] | None = None,
    mlflow_model: Model | None = None,
    conda_env: dict[str, Any] | str | None = None,
    signature: ModelSignature | None = None,
    input_example: InputExample | None = None,
    pip_requirements: list[str] | str | None = None,
    extra_pip_requirements: list[str] | str | None = None,
    metadata: dict[str, Any] | None = None,
    resources: str | Path | list[Resource] | None = None,
    use_dspy_model_save: bool = False,
    infer_code_paths: bool = True,
    serialization_format: Literal["json", "cloudpickle"] | None = None,
    compiled_state: dspy.Module | dict[str, Any] | str | Path | None = None,
    auth_policy: AuthPolicy | None = None,
    allowed_models: list[str] | None = None,
    follow_prompts: str | None = None,
) -> None:
    """Save a DSPy program as an MLflow model in a local folder, with DSPy's settings beside it.

    The program is not run, and no secret is written: API keys, authorization headers and past
    prompts stay behind, and are taken from the environment where the model is loaded.

    Args:
        model: The program, compiled or not; or the path of a script that calls
            `mlflow.models.set_model(program)`, which is then run wherever the model loads.
        path: The folder to write; it must not exist or be empty.
        task: None; `"llm/v1/chat"` for a model that takes OpenAI's chat requests and gives chat completions; or
            `"agent/v1/responses"` for an MLflow `ResponsesAgent`. A class of yours whose `forward` takes `messages`
            gets their list. Any other program gets the last message of the user in its text input, and the earlier
            ones in its `dspy.History`, or before that text; offered tools in its `list[dspy.Tool]`, and images in
            its `dspy.Image`. Its answer is the text output beside thoughts, and calls of tools in a `dspy.ToolCalls`.
        model_config: Arguments of the program's constructor to make it with where it loads; for a
            script what `mlflow.models.ModelConfig` reads there. Whoever loads may give other values
            for its keys. A dict, or the path of a YAML or JSON file.
        code_paths: Files and folders of Python code to ship, put on `sys.path` when loading.
        mlflow_model: The `Model` to add the flavor to; a new one by default.
        conda_env: The conda environment of the model, as a dict or the path of a YAML file.
        signature: The model signature; read from the program's DSPy signature by default.
        input_example: One input: a dict of the program's fields, a `dspy.Example`, a DataFrame or a list of one row,
            or a bare string for a program of one input; with params beside it in a pair.
        pip_requirements: The pip requirements, in place of those found by looking at the program.
        extra_pip_requirements: pip requirements beside those found.
        metadata: Custom metadata for the MLmodel file.
        resources: Databricks resources that the model needs, or a YAML file that lists them.
        use_dspy_model_save: Save the program by `dspy.Module.save(save_program=True)`.
        infer_code_paths: Ship the modules of the user's own that the program needs, as `code_paths`
            ships others; those of installed packages are requirements.
        serialization_format: `"json"` saves the program as plain data, and nothing else;
            `"cloudpickle"` pickles it. None takes the first, and the second with a warning where
            something in the program is no plain data.
        compiled_state: For a script: what is laid over its program. An optimized program, its
            `dump_state()`, or the JSON file that its `save` wrote.
        auth_policy: How the served model logs in to Databricks resources; not together with
            `resources`.
        allowed_models: The language models that a request may ask for by the param `model`, by the names that
            `dspy.LM` takes; none by default.
        follow_prompts: The URI of prompts, as `load_prompts` takes it, that are laid over the program where it is
            served. Those of an alias are looked at again every MLFLOW_DSPY_PROMPTS_SECONDS (60), while requests are
            answered. MLFLOW_DSPY_PROMPTS names others where it is set, and none where it is `false`.

    Raises:
        ProgramError: If `model` is no `dspy.Module` and no script that sets one, the task is unknown
            or needs another program, the signature has no inputs, `model_config` does not fit its
            constructor, or the program cannot be saved in the format.
        InputError: If the input example does not fit the program's fields.
        PromptError: If `follow_prompts` is no URI of prompts.
        SecretError: If a secret sits where it cannot be left out.
        ModelFolderError: If the folder exists and is not empty.
    """
    _save(SimpleNamespace(**locals()))


@dataclass(frozen=True)
class _Subject:
    """What is to be saved, checked.

    Attributes:
        program: The program.
        code: The script that makes it, if it is saved as one.
        fields: What the program takes and gives.
        config: The model's configuration.
        example: The input example.
        signature: The signature that was given, or that the task has.
    """

    program: dspy.Module
    code: CodeModel | None
    fields: Fields
    config: dict[str, Any] | None
    example: Any
    signature: ModelSignature | None


def _checked(given: SimpleNamespace) -> _Subject:
    config = read_model_config(given.model_config)
    check_task(given.task, given.signature)
    check_signature(given.signature)
    check_format(given.serialization_format, given.use_dspy_model_save)
    check_access(given.resources, given.auth_policy)
    check_allowed_models(given.allowed_models)
    is_script = isinstance(given.model, (str, Path))
    code = read_code_model(given.model, given.compiled_state, config) if is_script else None
    program = given.model if code is None else code.program
    check_program(program, given.compiled_state is not None and code is None)
    check_follow_prompts(given.follow_prompts, program)
    fields = fields_of(program)
    example, signature = given.input_example, given.signature
    if isinstance(example, dspy.Example):
        example = inputs_of_example(example)
    if given.task is None:
        check_example(example, fields)
    else:
        chat_fields_of(program, fields)
        signature = signature or TASK_SIGNATURES[given.task]
    if code is None:
        try_out(program, config)
    return _Subject(program, code, fields, config, example, signature)


def _save(given: SimpleNamespace) -> dict[str, str]:
    """Do what `save_model` says; returns the secrets that were left out, by the words that name them."""
    subject, scrubber, settings = _checked(given), Scrubber(), current_settings()
    with model_folder.new_folder(given.path) as folder:
        model = Model() if given.mlflow_model is None else given.mlflow_model
        choosable = bool(given.allowed_models)
        model_folder.describe(model, subject.fields, subject.signature, subject.example, folder, scrubber, choosable)
        model_folder.add_metadata(model, subject.fields, given.metadata, scrubber)
        model_folder.add_access(model, given.resources, given.auth_policy)
        contents = write_contents(
            subject.code or subject.program, settings, folder, given.serialization_format, given.use_dspy_model_save
        )
        needs = needs_of(subject.program, settings)
        config = scrubber.scrub(subject.config, "model_config")
        mlflow_seam.write_environment(
            folder,
            requirements_of(needs),
            given.conda_env,
            given.pip_requirements,
            given.extra_pip_requirements,
            scrubber.scrub,
        )
        left_out = {**contents.left_out, **scrubber.left_out}
        section = {
            names.KEY_CODE: ship_code(folder, given.code_paths, needs.own if given.infer_code_paths else ()),
            names.KEY_MODULES: needs.at_load(),
            names.KEY_VERSIONS: versions_now(),
            names.KEY_LANGUAGE_MODELS: describe_lms(subject.program, settings),
            **({names.KEY_LEFT_OUT: left_out} if left_out else {}),
            **({names.KEY_ALLOWED_MODELS: list(given.allowed_models)} if choosable else {}),
            **({names.KEY_FOLLOW_PROMPTS: given.follow_prompts} if given.follow_prompts else {}),
            **contents.section,
            **model_folder.fields_section(subject.fields, given.task),
        }
        model_folder.add_flavors(model, folder, section, config)
        model.save(str(folder / MLMODEL_FILE_NAME))
        secrets = {**contents.secrets, **scrubber.known_secrets()}
        model_folder.check_no_secret_below(folder, secrets)
    model_folder.report_left_out(left_out)
    return secrets


def log_model(
    dspy_model: dspy.Module | str | Path,
    artifact_path: str | None = None,
    task: str | None = None,
    model_config: dict[str, Any] | str | Path | None = None,
    code_paths: list[str] | None = None,
    conda_env: dict[str, Any] | str | None = None,
    signature: ModelSignature | None = None,
    input_example: InputExample | None = None,
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
    serialization_format: Literal["json", "cloudpickle"] | None = None,
    compiled_state: dspy.Module | dict[str, Any] | str | Path | None = None,
    auth_policy: AuthPolicy | None = None,
    allowed_models: list[str] | None = None,
    follow_prompts: str | None = None,
) -> ModelInfo:
    """Log a DSPy program as an MLflow model.

    Args:
        dspy_model: See `save_model`.
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
        serialization_format: See `save_model`.
        compiled_state: See `save_model`.
        auth_policy: See `save_model`.
        allowed_models: See `save_model`.
        follow_prompts: See `save_model`.

    Returns:
        MLflow's `ModelInfo`; its `model_uri` loads the model.

    Raises:
        DspyPluginError: As `save_model` does, before anything is created in the tracking store.
    """
    check_registered_name(registered_model_name)
    check_access(resources, auth_policy)
    check_prompts(prompts)
    with tempfile.TemporaryDirectory() as parent:
        # Saved first and on its own: what is refused is refused before a model is registered.
        saved = Path(parent, "model")
        given = {**locals(), "model": dspy_model, "path": saved, "mlflow_model": None}
        secrets = _save(SimpleNamespace(**given))
        scrubber = Scrubber()
        params, tags = scrubber.scrub(params, "params"), scrubber.scrub(tags, "tags")
        stored = (name, artifact_path, registered_model_name, model_type, params, tags)
        model_folder.check_texts(
            stored, "the name, params or tags of the model", {**secrets, **scrubber.known_secrets()}
        )
        model_folder.report_left_out(scrubber.left_out)
        return Model.log(
            artifact_path=artifact_path,
            flavor=_SavedFolder(saved),
            registered_model_name=registered_model_name,
            await_registration_for=await_registration_for,
            resources=resources,
            auth_policy=auth_policy,
            prompts=prompts,
            name=name,
            model_type=model_type,
            params=params,
            tags=tags,
            step=step,
            model_id=model_id,
            model_config=scrubber.scrub(read_model_config(model_config), "model_config"),
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

"""What `save_model` and `log_model` are given, checked before anything is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dspy
import pandas as pd
import yaml
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import InputError, ProgramError, SecretError
from mlflow_dspy_plugin.programs.fields import Fields, check_fields, only_input
from mlflow_dspy_plugin.prompts.versions import Wanted, prompt_names
from mlflow_dspy_plugin.redaction import is_distinctive, is_secret_name
from mlflow_dspy_plugin.seams.programs import is_signature

# MLflow's `ModelInputExample` names types of scipy that cannot be resolved, and says less of what a program takes.
InputExample = str | Mapping[str, Any] | dspy.Example | pd.DataFrame | list[Any] | tuple[Any, dict[str, Any]]


def check_program(model: Any, has_state: bool = False) -> None:
    """Refuse what is no program, and a state that is to be laid over one that has its own."""
    if has_state:
        raise ProgramError(
            "A compiled_state is laid over the program of a script; this is the program itself. Give the optimized "
            "program, or call program.load_state(...) before."
        )
    if not isinstance(model, dspy.Module):
        raise ProgramError(f"mlflow.dspy saves a dspy.Module, but was given {type(model).__name__}. {_advice(model)}")


def _advice(model: Any) -> str:
    if is_signature(model):
        return "It is a signature; give dspy.Predict(signature)."
    if isinstance(model, type):
        return "It is the class; give an instance of it."
    return (
        "Build your program as a subclass of dspy.Module, or use dspy.Predict; or give the path of a script that calls "
        "mlflow.models.set_model(program)."
    )


def check_registered_name(name: str | None) -> None:
    """Refuse a name that MLflow would refuse only after the model is logged."""
    if name is not None and (not isinstance(name, str) or not name or set(name) & set("/:")):
        raise ProgramError(
            f"The registered_model_name {name!r} is none that MLflow can register: it must be a "
            "text that is not empty and does not contain '/' or ':'. Give another one."
        )


def check_task(task: str | None, signature: ModelSignature | None) -> None:
    """Refuse a task that this flavor does not have, and a signature beside one that has its own."""
    if task is not None and task not in names.TASKS:
        raise ProgramError(f"The task {task!r} is unknown. Give None, or one of {', '.join(map(repr, names.TASKS))}.")
    if task == names.TASK_RESPONSES and signature is not None:
        raise ProgramError(f"Models of the task {task!r} have one signature, that of MLflow's agents. Leave yours out.")


def check_configure(configure: Any) -> None:
    """Refuse what does not say whether the saved settings are to be set."""
    if not isinstance(configure, bool) and configure != "if-unset":
        raise InputError(
            f"configure={configure!r} does not say what to do with the saved settings. Give 'if-unset' to set those "
            "that you have not set, True to set all, or False to set none."
        )


def check_access(resources: Any, auth_policy: Any) -> None:
    """Refuse what MLflow would refuse only after the model is made."""
    if resources is not None and auth_policy is not None:
        raise ProgramError("Both resources and an auth_policy were given. Give one: a policy names its own resources.")


def check_allowed_models(models: Any) -> None:
    """Refuse what is no list of names."""
    if models is None:
        return
    if not isinstance(models, (list, tuple)) or not all(isinstance(model, str) and model for model in models):
        raise ProgramError(f"allowed_models is {models!r}. Give a list of names as dspy.LM takes them.")


def check_format(serialization_format: str | None, by_dspy: bool) -> None:
    """Refuse a format that does not exist, or that DSPy's own `save` would not write."""
    known = (names.FORMAT_JSON, names.FORMAT_CLOUDPICKLE)
    if serialization_format not in (None, *known):
        raise ProgramError(
            f"The serialization_format {serialization_format!r} is unknown. Give None, or one of "
            f"{', '.join(map(repr, known))}."
        )
    if by_dspy and serialization_format == names.FORMAT_JSON:
        raise ProgramError("use_dspy_model_save pickles the program. Leave it out, or serialization_format='json'.")


def read_model_config(model_config: Any) -> dict[str, Any] | None:
    """The configuration, read from its file where a path was given.

    Raises:
        ProgramError: If it is no mapping with text keys.
    """
    if isinstance(model_config, (str, Path)):
        try:
            model_config = yaml.safe_load(Path(model_config).read_text(encoding="utf-8"))
        except OSError as error:
            raise ProgramError(f"The model_config file cannot be read: {error}") from error
        except yaml.YAMLError as error:
            # Without what YAML quotes of the file: a secret may stand there.
            mark = getattr(error, "problem_mark", None)
            where = f" at line {mark.line + 1}" if mark else ""
            raise ProgramError(f"The model_config file {str(model_config)!r} is no YAML or JSON{where}.") from None
    if model_config is not None and not (
        isinstance(model_config, Mapping) and all(isinstance(key, str) for key in model_config)
    ):
        raise ProgramError(
            f"model_config is {type(model_config).__name__}. Give a dict with text keys, or the path of a YAML or JSON "
            "file that holds one."
        )
    return None if model_config is None else dict(model_config)


def check_signature(signature: ModelSignature | None) -> None:
    """Refuse a signature without inputs, and one that holds a secret."""
    if signature is not None and (signature.inputs is None or not len(signature.inputs.inputs)):
        raise ProgramError(
            "The model signature has no inputs, but the input schema must contain at least one "
            "field. Leave the signature out: it is read from the program."
        )
    for param in (signature and signature.params) or ():
        if is_secret_name(param.name) and isinstance(param.default, str) and is_distinctive(param.default):
            raise SecretError(
                f"The signature holds a secret (in params.{param.name}), which would be saved with the model. Nothing "
                "was saved. Leave the default out of it."
            )


def check_example(example: Any, fields: Fields) -> None:
    """Refuse an input example that is not one row of the program's fields."""
    what = "The input example"
    if isinstance(example, tuple) and len(example) == 2:
        example = example[0]
    if isinstance(example, str):
        only_input(fields, what)
    elif isinstance(example, Mapping):
        check_fields(example, fields, what)
    elif hasattr(example, "columns"):
        if len(example) != 1:
            raise InputError(f"{what} is a DataFrame of {len(example)} rows. Give one row.")
        if all(isinstance(column, str) for column in example.columns):
            check_fields(dict.fromkeys(example.columns), fields, what)
    elif isinstance(example, (list, tuple)):
        if len(example) != 1:
            raise InputError(f"{what} is a list of {len(example)} rows. Give one row.")
        check_example(example[0], fields)


def check_prompts(prompts: list[Any] | None) -> None:
    """Refuse prompts that the registry does not have, which MLflow looks up only after the model is made."""
    for prompt in prompts or ():
        if isinstance(prompt, str):
            MlflowClient().load_prompt(prompt)


def check_follow_prompts(uri: str | None, program: dspy.Module) -> None:
    """Refuse what cannot be the prompts of a program; whether the registry has them is seen where the model loads."""
    if uri is not None:
        prompt_names(program, Wanted.of(uri).name)


def inputs_of_example(example: dspy.Example) -> dict[str, Any]:
    """The inputs of a DSPy example, or all of its fields where it does not say which are inputs."""
    try:
        return dict(example.inputs().items())
    except ValueError:
        return dict(example.items())

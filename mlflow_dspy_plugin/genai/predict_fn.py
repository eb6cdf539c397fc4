"""A logged model, or a program, as the function that `mlflow.genai.evaluate` calls."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dspy

from mlflow_dspy_plugin.packaging.load import LoadedModel, read_folder
from mlflow_dspy_plugin.packaging.mlmodel import download
from mlflow_dspy_plugin.programs.fields import Fields, fields_of
from mlflow_dspy_plugin.programs.keys import warn_of_missing_keys, with_keys_of_here
from mlflow_dspy_plugin.serving.calls import call
from mlflow_dspy_plugin.serving.following import following_prompts
from mlflow_dspy_plugin.serving.inputs import arguments_of
from mlflow_dspy_plugin.serving.pyfunc import _load_pyfunc


def to_predict_fn(model: str | dspy.Module, model_config: dict[str, Any] | None = None) -> Callable[..., Any]:
    """Make the `predict_fn` of `mlflow.genai.evaluate` from a logged model, which MLflow takes no URI of there.

    Each call runs the program under the settings that it was saved with, leaves the settings of this process as they
    are, and is traced like any call of a program; the traces belong to the logged model too. A model that follows
    prompts follows them here too, as it does where it is served.

    Args:
        model: The URI of a DSPy model, as for `mlflow.dspy.load_model`; or a program, which can be given to
            `mlflow.genai.evaluate` itself, unless it has only an `aforward`.
        model_config: Other values for keys of the `model_config` that the model was logged with.

    Returns:
        A function of the program's inputs, by name, that gives its prediction; of the request's keys, that gives the
        answer as served, for a model with a task.

    Raises:
        ModelFolderError: If there is no DSPy model that can be loaded.
        PromptError: If it follows prompts, and they are not there or do not fit.
        InputError: If `model_config` has a key that was not logged. The function raises it for inputs that do not fit.
    """
    if isinstance(model, dspy.Module):
        return _function_of(lambda: model, {})
    folder = download(model)
    loaded = read_folder(folder, model_config)
    if loaded.task is not None:
        return _served(folder, model_config)
    following, loaded_settings = following_prompts(loaded), settings_of(loaded)
    warn_of_missing_keys(loaded.program, loaded_settings)
    return _function_of(lambda: following.program, loaded_settings)


def settings_of(loaded: LoadedModel) -> dict[str, Any]:
    """The settings that a model was saved with, with the keys of this environment."""
    return dict(with_keys_of_here(loaded.settings))


def _function_of(program: Callable[[], dspy.Module], settings: Mapping[str, Any]) -> Callable[..., Any]:
    fields: Fields = fields_of(program())

    def predict(**inputs):
        args, kwargs = arguments_of(inputs, fields)
        with dspy.context(**settings):
            return call(program(), args, kwargs)

    predict.__doc__ = f"Call a {type(program()).__name__}."
    return predict


def _served(folder: Path, model_config: dict[str, Any] | None) -> Callable[..., Any]:
    model = _load_pyfunc(str(folder), model_config)

    def predict(**request):
        return model.predict(request)

    return predict

"""A loaded program as the model object behind `mlflow.pyfunc` and `mlflow models serve`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ProgramError
from mlflow_dspy_plugin.packaging.load import LoadedModel, read_folder
from mlflow_dspy_plugin.programs.fields import fields_of
from mlflow_dspy_plugin.programs.keys import warn_of_missing_keys, with_keys_of_here
from mlflow_dspy_plugin.serving import chat
from mlflow_dspy_plugin.serving.inputs import arguments_of
from mlflow_dspy_plugin.serving.outputs import plain
from mlflow_dspy_plugin.serving.params import overridden
from mlflow_dspy_plugin.serving.stream import stream_of


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> "PyfuncModel":
    """Load a model folder for `mlflow.pyfunc.load_model`.

    Args:
        path: The model folder.
        model_config: The configuration that it was logged with, as overridden at load.
    """
    loaded = read_folder(Path(path), model_config)
    loaded = replace(loaded, settings=with_keys_of_here(loaded.settings))
    warn_of_missing_keys(loaded.program, loaded.settings)
    return PyfuncModel(loaded, model_config)


class PyfuncModel:
    """Calls the program for MLflow, under the settings it was saved with.

    Attributes:
        model: The DSPy program.
        model_config: The configuration that the model was logged with.
    """

    def __init__(self, loaded: LoadedModel, model_config: dict[str, Any] | None = None):
        self.model = loaded.program
        self.model_config = model_config or {}
        self._settings = dict(loaded.settings)
        self._task = loaded.task
        self._fields = fields_of(loaded.program)

    def get_raw_model(self) -> dspy.Module:
        """The DSPy program, as `PyFuncModel.get_raw_model()` gives it."""
        return self.model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Call the program once.

        Args:
            model_input: A dict of the program's fields, a DataFrame of one row, or a bare value
                for a program of one input; for the task `llm/v1/chat` a chat request.
            params: Arguments of `dspy.LM` that hold for this call alone, such as `temperature`,
                `max_tokens`, `top_p` or `cache`; None changes nothing.

        Returns:
            A dict of the output fields, or what else the program returned; for the task
            `llm/v1/chat` a chat completion.

        Raises:
            InputError: If the input does not fit the program.
        """
        if self._task == names.TASK_CHAT:
            return chat.completion_of(self._call((chat.messages_of(model_input),), {}, params), self._name())
        return plain(self._call(*arguments_of(model_input, self._fields), params))

    def predict_stream(self, model_input: Any, params: dict[str, Any] | None = None) -> Iterator[Any]:
        """Call the program once and yield the chunks of its text fields; see `predict`.

        Raises:
            ProgramError: If the output fields of the program are not known, or it is a chat model.
        """
        if self._task == names.TASK_CHAT:
            raise ProgramError(
                f"A model of the task {names.TASK_CHAT!r} cannot be streamed. Call predict, or log "
                "the program without a task."
            )
        if not self._fields.outputs:
            raise ProgramError(
                f"{type(self.model).__name__} cannot be streamed: its output fields are not known. "
                "Streaming works for a predictor, and for a program of one predictor."
            )
        args, kwargs = arguments_of(model_input, self._fields)
        program, settings = overridden(self.model, self._settings, params)
        return stream_of(program, settings, list(self._fields.outputs), args, kwargs)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], params: dict[str, Any] | None) -> Any:
        program, settings = overridden(self.model, self._settings, params)
        with dspy.context(**settings):
            return program(*args, **kwargs)

    def _name(self) -> str:
        return str(getattr(self._settings.get("lm"), "model", type(self.model).__name__))

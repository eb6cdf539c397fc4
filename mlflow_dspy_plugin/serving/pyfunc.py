"""A loaded program as the model object behind `mlflow.pyfunc` and `mlflow models serve`."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.packaging.load import LoadedModel, read_folder
from mlflow_dspy_plugin.programs.fields import fields_of
from mlflow_dspy_plugin.programs.keys import warn_of_missing_keys, with_keys_of_here
from mlflow_dspy_plugin.seams.input_check import read_dicts_as_rows
from mlflow_dspy_plugin.seams.responses import serve_agent
from mlflow_dspy_plugin.seams.spark import in_spark_task
from mlflow_dspy_plugin.serving.answers import Answers
from mlflow_dspy_plugin.serving.awaiting import is_awaited
from mlflow_dspy_plugin.serving.batch import aanswer_all, answer_all
from mlflow_dspy_plugin.serving.chat import Answered, Chat
from mlflow_dspy_plugin.serving.completions import Chunks, completion_of
from mlflow_dspy_plugin.serving.following import FollowingModel, following_prompts
from mlflow_dspy_plugin.serving.inputs import Rows, only_row, rows_of
from mlflow_dspy_plugin.serving.items import Items
from mlflow_dspy_plugin.serving.outputs import table_of
from mlflow_dspy_plugin.serving.overrides import overridden
from mlflow_dspy_plugin.serving.pace import pace_server, rows_at_a_time
from mlflow_dspy_plugin.serving.params import Params, params_of
from mlflow_dspy_plugin.serving.requests import ChatRequest
from mlflow_dspy_plugin.serving.responses import Agent
from mlflow_dspy_plugin.serving.stream import astream_of, stream_of


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> Any:
    """Load a model folder for `mlflow.pyfunc.load_model`.

    Args:
        path: The model folder.
        model_config: The configuration that it was logged with, as overridden at load.

    Returns:
        A `PyfuncModel`; for the task `agent/v1/responses` what MLflow wraps around a `ResponsesAgent`.

    Raises:
        ModelFolderError: As `load_model` does.
        InputError: If `model_config` has a key that was not logged.
    """
    loaded = read_folder(Path(path), model_config)
    loaded = replace(loaded, settings=with_keys_of_here(loaded.settings))
    warn_of_missing_keys(loaded.program, loaded.settings)
    loaded = following_prompts(loaded)
    read_dicts_as_rows()
    model = _model_of(loaded, Path(path), model_config)
    pace_server(model, Path(path))
    return model


def _model_of(loaded: LoadedModel | FollowingModel, folder: Path, model_config: dict[str, Any] | None) -> Any:
    if loaded.task == names.TASK_RESPONSES:
        return serve_agent(Agent(Chat(loaded, folder)))
    return PyfuncModel(loaded, model_config, Chat(loaded, folder) if loaded.task == names.TASK_CHAT else None)


class PyfuncModel:
    """Calls the program for MLflow, under the settings it was saved with.

    Attributes:
        model: The DSPy program, as it is now.
        model_config: The configuration that the model was logged with.
    """

    def __init__(
        self,
        loaded: LoadedModel | FollowingModel,
        model_config: dict[str, Any] | None = None,
        chat: Chat | None = None,
    ):
        self._loaded = loaded
        self.model_config = model_config or {}
        self._settings = dict(loaded.settings)
        self._chat = chat
        self._fields = fields_of(loaded.program)
        self._allowed_models = loaded.allowed_models

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the program is called under."""
        return dict(self._settings)

    @property
    def model(self) -> dspy.Module:
        return self._loaded.program

    def get_raw_model(self) -> dspy.Module:
        """The DSPy program, as `PyFuncModel.get_raw_model()` gives it."""
        return self.model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """Call the program once for each row, side by side.

        Args:
            model_input: A dict of the program's fields, or a bare value for a program of one input: one row. A
                DataFrame, Series, numpy array, list or tuple of them: one row each. For the task `llm/v1/chat` a chat
                request in OpenAI's form: `messages`, and beside them `temperature`, `top_p`, `max_tokens`, `stop`,
                `n`, `seed`, `presence_penalty`, `frequency_penalty`, `reasoning_effort` and `cache`, which hold for
                this request; `tools` and `tool_choice`, `user`, `custom_inputs` for other inputs of the program; and
                `model`, which may be the name of what answers anyway, or one of `allowed_models`. Other keys are
                ignored.
            params: What holds for this request alone; None changes nothing. Arguments of `dspy.LM` (`temperature`,
                `max_tokens`, `top_p`, `cache`; `model` as far as the model was logged with `allowed_models`);
                `on_error`: `"row"` answers a row that fails by its error; `return_trace_id`: True adds `trace_id` to
                each answer.

        Returns:
            Of one row a dict of the output fields, or what else the program returned. Of several rows a table of
            them with the index of the one that was given, or a list in the order of the rows. For the task
            `llm/v1/chat` a chat completion.

        Raises:
            InputError: If there is no row, or one does not fit the program.
            CallError: If the language model fails, or the program raises. An MLflow exception of the program's keeps
                its code.
        """
        if self._chat is not None:
            request = self._chat.read(model_input, params)
            return _completion(request, self._chat.answer(request))
        asked, program, settings = self._asked(params)
        with dspy.context(**settings):
            rows = rows_of(model_input)
            answers = answer_all(rows.count, Answers(program, self._fields, rows, asked).of, rows_at_a_time())
        return _whole(answers, rows)

    async def apredict(self, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        """As `predict`, without holding up the event loop that runs. To cancel it ends the calls of language models.

        A program runs in that loop where nothing in it could hold it up: it is of `dspy.Predict`, `dspy.ChainOfThought`
        and modules that have an `aforward`, and its language models and adapter are asynchronous. Any other runs in a
        thread of the loop's default executor, which is not ended by cancelling.
        """
        if self._chat is not None:
            request = self._chat.read(model_input, params)
            return _completion(request, await self._chat.aanswer(request))
        asked, program, settings = self._asked(params)
        with dspy.context(**settings):
            rows, in_loop = rows_of(model_input), is_awaited(self.model, self._settings)
            answers = Answers(program, self._fields, rows, asked)
            found = await aanswer_all(rows.count, lambda place: answers.aof(place, in_loop), rows_at_a_time())
        return _whole(found, rows)

    def predict_stream(self, model_input: Any, params: dict[str, Any] | None = None) -> Iterator[Any]:
        """Call the program once and yield its answer while it is made.

        Args:
            model_input: One row; see `predict`.
            params: See `predict`; `status_messages`: True tells which tools are called.

        Yields:
            `{"predict_name", "signature_field_name", "chunk", "is_last_chunk"}` for each piece of a text field of a
            predictor, as the language model sends it; at the end an empty chunk with all fields beside it, as
            `"prediction"`. For the task `llm/v1/chat` chunks of a chat completion, the last with its usage, and those
            of messages of tools with an empty delta and the message as `"status"`. Closing the stream early ends the
            call of the language model.

        Raises:
            InputError: If there is not one row, or it does not fit the program.
            CallError: If the language model fails, or the program raises; see `predict`. A chat completion's chunks
                cannot be taken back: if the program answers other than what was sent, as one that changes the text
                afterwards does.
        """
        if self._chat is not None:
            request = self._chat.read(model_input, params)
            return _chunks(*self._chat.stream(request), request)
        items, call = self._streamed(model_input, params)
        return _items(items, call)

    def apredict_stream(self, model_input: Any, params: dict[str, Any] | None = None) -> AsyncIterator[Any]:
        """As `predict_stream`, without holding up the event loop that runs; see `apredict`."""
        if self._chat is not None:
            request = self._chat.read(model_input, params)
            return _achunks(*self._chat.astream(request), request)
        items, call = self._streamed(model_input, params)
        return _aitems(items, (*call, is_awaited(self.model, self._settings)))

    def _asked(self, params: dict[str, Any] | None) -> tuple[Params, dspy.Module, Mapping[str, Any]]:
        """What a request asks for, and the program and DSPy's settings for it."""
        asked = params_of(params, self._allowed_models)
        return asked, *overridden(self.model, self._settings, asked.lm)

    def _streamed(self, model_input: Any, params: dict[str, Any] | None) -> tuple[Items, tuple[Any, ...]]:
        """What makes the items of a stream, and what the stream is made of."""
        asked, program, settings = self._asked(params)
        answers = Answers(program, self._fields, only_row(model_input), asked)
        return Items(answers), (program, settings, *answers.arguments(0))


def _whole(answers: list[Any], rows: Rows) -> Any:
    """The answer to a request, of those of its rows."""
    if rows.count == 1 and not in_spark_task():
        return answers[0]
    return answers if rows.index is None else table_of(answers, rows.index)


def _completion(request: ChatRequest, answered: Answered) -> dict[str, Any]:
    completion = completion_of(answered.replies, answered.model, answered.spent)
    if request.asked.return_trace_id:
        completion[names.ANSWER_TRACE_ID] = answered.trace_id
    return completion


def _items(items: Items, call: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    for each in stream_of(*call):
        yield from items.of(each)


async def _aitems(items: Items, call: tuple[Any, ...]) -> AsyncIterator[dict[str, Any]]:
    async with contextlib.aclosing(astream_of(*call)) as told:
        async for each in told:
            for item in items.of(each):
                yield item


def _chunks(model: str, told: Iterator[Any], request: ChatRequest) -> Iterator[dict[str, Any]]:
    chunks = Chunks(model, request.asked.return_trace_id)
    yield chunks.first()
    for each in told:
        yield from chunks.of(each)


async def _achunks(model: str, told: AsyncIterator[Any], request: ChatRequest) -> AsyncIterator[dict[str, Any]]:
    chunks = Chunks(model, request.asked.return_trace_id)
    yield chunks.first()
    async with contextlib.aclosing(told):
        async for each in told:
            for chunk in chunks.of(each):
                yield chunk

"""One chat request: the program is called with what it says, and its replies come back with what they cost."""

import contextlib
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dspy
from dspy.streaming import StatusMessage, StreamResponse

from mlflow_dspy_plugin.errors import CallError, InputError
from mlflow_dspy_plugin.metering import count_answers
from mlflow_dspy_plugin.packaging.load import LoadedModel
from mlflow_dspy_plugin.packaging.mlmodel import registered_name
from mlflow_dspy_plugin.programs.chat_fields import ChatFields, answering_predictor, chat_fields_of
from mlflow_dspy_plugin.programs.fields import fields_of
from mlflow_dspy_plugin.programs.language_models import language_models
from mlflow_dspy_plugin.seams.handed_down import HANDED_DOWN
from mlflow_dspy_plugin.seams.threads import carry_into_threads
from mlflow_dspy_plugin.serving.awaiting import is_awaited
from mlflow_dspy_plugin.serving.calls import Ending, acall, call
from mlflow_dspy_plugin.serving.completions import Reply, replies_of
from mlflow_dspy_plugin.serving.conversations import arguments_of
from mlflow_dspy_plugin.serving.failures import failing_clearly
from mlflow_dspy_plugin.serving.nothing import check_answered
from mlflow_dspy_plugin.serving.overrides import overridden
from mlflow_dspy_plugin.serving.requests import ChatRequest, ServedNames, chat_request_of
from mlflow_dspy_plugin.serving.sent_text import SentText
from mlflow_dspy_plugin.serving.spending import Spent, spending
from mlflow_dspy_plugin.serving.stream import astream_of, stream_of
from mlflow_dspy_plugin.tracing.context import context
from mlflow_dspy_plugin.tracing.predictions import trace_id_of


@dataclass(frozen=True)
class Answered:
    """What came of a request.

    Attributes:
        replies: At least one.
        model: The name of the language model that has answered.
        spent: What it was asked for.
        trace_id: The trace that the program was called in, if any.
    """

    replies: list[Reply]
    model: str
    spent: Spent
    trace_id: str | None


class Chat:
    """A loaded program, as what answers chat requests."""

    def __init__(self, loaded: LoadedModel, folder: Path) -> None:
        self._loaded = loaded
        self._settings = dict(loaded.settings)
        self._fields = fields_of(loaded.program)
        self._allowed_models = loaded.allowed_models
        self._guessed_wrong = False
        self._names = [name for name in (registered_name(folder), loaded.mlmodel.get("model_id")) if name]
        _count_from_now_on()

    @property
    def program(self) -> dspy.Module:
        """The program, as it is now."""
        return self._loaded.program

    def read(self, data: Any, params: Mapping[str, Any] | None = None) -> ChatRequest:
        """Read a request; see `chat_request_of`.

        A request may call the model by the name of a language model that answers, with its provider or without, or by
        that of the MLflow model.
        """
        return chat_request_of(data, params, ServedNames(self._own_names, self._allowed_models))

    def answers_to(self, name: str) -> bool:
        """Whether a request may call its model by this name."""
        return name in self._allowed_models or name in self._own_names()

    def answer(self, request: ChatRequest) -> Answered:
        """Call the program once.

        Raises:
            InputError: If the request does not fit the program.
            CallError: If the language model fails, or the program raises or returns no answer.
        """
        with self._asking(request) as (program, spent):
            args, kwargs = self._arguments(request)
            return self._answered(request, program, spent, Ending.of(lambda: call(program, args, kwargs)))

    async def aanswer(self, request: ChatRequest) -> Answered:
        """As `answer`, without holding up the event loop that runs."""
        in_loop = is_awaited(self.program, self._settings)
        with self._asking(request) as (program, spent):
            ending = await acall(program, *self._arguments(request), in_loop)
            return self._answered(request, program, spent, ending)

    def stream(self, request: ChatRequest) -> tuple[str, Iterator[str | StatusMessage | Answered]]:
        """Call the program once, as soon as somebody iterates.

        Returns:
            The name of the language model that answers; and the pieces of the text of the answer as it sends them,
            between them messages of tools where they are asked for, and last all that came of the request. Raises as
            `answer` does, and where the answer is another text than what was sent of it.
        """
        model, *call = self._call_of_stream(request)
        return model, self._told(request, model, functools.partial(stream_of, *call))

    def astream(self, request: ChatRequest) -> tuple[str, AsyncIterator[str | StatusMessage | Answered]]:
        """As `stream`, without holding up the event loop that runs."""
        model, *call = self._call_of_stream(request)
        in_loop = is_awaited(self.program, self._settings)
        return model, self._atold(request, model, functools.partial(astream_of, *call, in_loop))

    @contextlib.contextmanager
    def _asking(self, request: ChatRequest) -> Iterator[tuple[dspy.Module, Spent]]:
        asked = {**request.asked.lm, **self._choices(request.choices)}
        program, settings = overridden(self.program, self._settings, asked)
        with dspy.context(**settings), spending() as spent, _asked_by(request.user):
            yield program, spent

    def _arguments(self, request: ChatRequest) -> tuple[tuple[Any, ...], dict[str, Any]]:
        with failing_clearly():
            return arguments_of(request.conversation, self._parts, self._fields)

    def _answered(self, request: ChatRequest, program: dspy.Module, spent: Spent, ending: Ending) -> Answered:
        with failing_clearly():
            outputs = ending.result()
            check_answered(outputs)
            replies = replies_of(outputs, self._parts, request.choices)
            return Answered(replies, _model_of(program), spent, trace_id_of(outputs))

    def _call_of_stream(self, request: ChatRequest) -> tuple[Any, ...]:
        """The name of the model that is asked, and what a stream is made of."""
        if request.choices > 1:
            raise InputError(
                f"'n' is {request.choices}, but a stream gives one answer. Leave it out, or do not stream."
            )
        program, settings = overridden(self.program, self._settings, request.asked.lm)
        with dspy.context(**settings):
            model = _model_of(program)
        args, kwargs = arguments_of(request.conversation, self._parts, self._fields)
        return model, program, settings, args, kwargs

    def _told(
        self, request: ChatRequest, model: str, begin: Callable[[], Iterator[Any]]
    ) -> Iterator[str | StatusMessage | Answered]:
        with self._asked_apart(request) as (apart, spent):
            sent = SentText(*self._streamed())
            for each in apart.run(begin):
                yield from self._said(each, request, model, spent, sent)

    async def _atold(
        self, request: ChatRequest, model: str, begin: Callable[[], AsyncIterator[Any]]
    ) -> AsyncIterator[str | StatusMessage | Answered]:
        with self._asked_apart(request) as (apart, spent):
            sent = SentText(*self._streamed())
            async with contextlib.aclosing(apart.run(begin)) as told:
                async for each in told:
                    for said in self._said(each, request, model, spent, sent):
                        yield said

    @contextlib.contextmanager
    def _asked_apart(self, request: ChatRequest) -> Iterator[tuple[contextvars.Context, Spent]]:
        """A context to begin a stream in: what is set for the program is not set for whoever iterates."""
        apart, held = contextvars.copy_context(), contextlib.ExitStack()
        spent = apart.run(held.enter_context, spending())
        apart.run(held.enter_context, _asked_by(request.user))
        try:
            yield apart, spent
        finally:
            apart.run(held.close)

    def _said(
        self, told: Any, request: ChatRequest, model: str, spent: Spent, sent: SentText
    ) -> list[str | StatusMessage | Answered]:
        """What is said of one thing that a stream tells."""
        if isinstance(told, StatusMessage):
            return [told] if request.asked.status_messages else []
        with failing_clearly():
            if isinstance(told, StreamResponse):
                return list(filter(None, [sent.piece_of(told)]))
            check_answered(told)
            replies = replies_of(told, self._parts)
            rest = self._rest(sent, replies)
            return [*filter(None, [rest]), Answered(replies, model, spent, trace_id_of(told))]

    def _rest(self, sent: SentText, replies: list[Reply]) -> str:
        """What of the first reply is not sent."""
        try:
            return sent.rest_of(replies[0].text)
        except CallError:
            self._guessed_wrong = self._parts.answer is None
            raise

    def _streamed(self) -> tuple[str | None, str | None]:
        """The predictor and the field whose text is that of the answer; nothing where that was guessed wrong before."""
        return (None, None) if self._guessed_wrong else answering_predictor(self.program, self._parts.answer)

    def _own_names(self) -> list[str]:
        lms = [self._settings.get("lm", dspy.settings.lm), *(lm for _, lm in language_models(self.program, ""))]
        told = [lm.model for lm in lms if isinstance(getattr(lm, "model", None), str)]
        return list(dict.fromkeys([*told, *(name.partition("/")[2] or name for name in told), *self._names]))

    @functools.cached_property
    def _parts(self) -> ChatFields:
        # Looked at only now: MLflow's own flavor saves what is no program for chats, and others may use it.
        return chat_fields_of(self.program, self._fields)

    def _choices(self, choices: int) -> dict[str, int]:
        if choices == 1:
            return {}
        if len(self.program.predictors()) != 1:
            raise InputError(
                f"'n' is {choices}, but only a program of one predictor gives several answers at once. Leave it out, "
                "and send the request several times."
            )
        return {"n": choices}


@functools.cache
def _count_from_now_on() -> None:
    """Have the calls of this process counted, as far as a request inherits what counts them."""
    count_answers()
    carry_into_threads([HANDED_DOWN])


@contextlib.contextmanager
def _asked_by(user: str | None) -> Iterator[None]:
    """A block whose traces tell who has asked."""
    with contextlib.nullcontext() if user is None else context(user=user):
        yield


def _model_of(program: dspy.Module) -> str:
    lm = dspy.settings.lm or next((lm for _, lm in language_models(program, "")), None)
    return str(getattr(lm, "model", type(program).__name__))

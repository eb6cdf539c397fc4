"""Streams of language models, as far as a release of DSPy leaves open what they cost and whether they are whole.

dspy >= 3.4 asks for both by itself. Before, LiteLLM makes up the end of an answer that breaks off, and DSPy asks again
where an answer cannot be read, though a part of it was told.
"""

import contextlib
import functools
import importlib.util
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import dspy
from dspy.streaming import StreamListener
from dspy.utils.callback import ACTIVE_CALL_ID

from mlflow_dspy_plugin.seams.patch import patch

_OPEN = importlib.util.find_spec("dspy.clients.execution") is None
# Providers whose answers always say why they end; LiteLLM makes it up for some that never do.
_SAYING_WHY = ("openai", "azure", "azure_ai", "openrouter", "anthropic", "deepseek", "groq", "mistral", "hosted_vllm")

_HEADER = re.compile(r"\[\[ ## \w+ ## \]\]")

# Whether what the current code asks is told to somebody.
_told: ContextVar[bool] = ContextVar("mlflow_dspy_plugin_told", default=False)


class Listener(StreamListener):
    """Listens to one field, and loses no text that has two brackets in it."""

    def flush(self) -> str:
        """What is held back, as far as it belongs to the field; DSPy's own drops all from `[[` on."""
        if isinstance(dspy.settings.adapter, (dspy.JSONAdapter, dspy.XMLAdapter)):
            return super().flush()
        held = "".join(self.field_end_queue.queue)
        self.field_end_queue = type(self.field_end_queue)()
        return _HEADER.split(held, maxsplit=1)[0]


class Listened:
    """Stands for the stream that DSPy sends what it tells to.

    Attributes:
        is_broken: Whether an answer has begun that did not come to its end.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._begun, self._ended = stream, set(), set()

    async def send(self, told: Any) -> None:
        """Hand on what is told."""
        for choice in getattr(told, "choices", None) or ():
            # Some providers give each chunk another id.
            (self._ended if getattr(choice, "finish_reason", None) else self._begun).add(ACTIVE_CALL_ID.get())
        await self._stream.send(told)

    @property
    def is_broken(self) -> bool:
        # A language model of the user's may never say why its answers end.
        return _OPEN and bool(self._ended) and bool(self._begun - self._ended)


@contextlib.contextmanager
def listened() -> Iterator[Listened]:
    """A block in which answers of language models are told, which `dspy.streamify` has begun."""
    if _OPEN:
        _let_broken_answers_fail()
    stream, token = Listened(dspy.settings.send_stream), _told.set(True)
    try:
        with dspy.context(send_stream=stream), _counted():
            yield stream
    finally:
        _told.reset(token)


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """A block whose streams tell their usage, as they do where DSPy counts it."""
    if not _OPEN or dspy.settings.track_usage:
        yield
        return
    # With a tracker in force DSPy hangs no usage on what programs return, which may be no prediction.
    with dspy.context(track_usage=True), dspy.track_usage():
        yield


@functools.cache
def _let_broken_answers_fail() -> None:
    """From now on, an answer that is told and does not say why it ends has failed, as with dspy >= 3.4."""
    # Only with dspy < 3.4, which has imported it anyway.
    from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper

    patch(CustomStreamWrapper, "finish_reason_handler", _failing)


def _failing(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """LiteLLM's `CustomStreamWrapper.finish_reason_handler()`, called once a stream has ended."""
    from litellm.exceptions import APIConnectionError

    def finish_reason_handler(self: Any) -> Any:
        reasons = (getattr(self, name, None) for name in ("received_finish_reason", "intermittent_finish_reason"))
        provider = getattr(self, "custom_llm_provider", None)
        if _told.get() and provider in _SAYING_WHY and not any(reasons):
            raise APIConnectionError("the stream broke off before the answer's end", provider, str(self.model))
        return original(self)

    return finish_reason_handler

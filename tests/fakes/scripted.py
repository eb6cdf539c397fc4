"""A scripted LM behind DSPy's own interface: an engine where the release has engines, a completion function before."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import dspy
from anyio import from_thread

from tests.fakes.completion import Usage, pieces
from tests.fakes.script import Answer, Answers, Messages, Script

if TYPE_CHECKING:
    import litellm
    from dspy import lm15

__all__ = ["Answer", "Script", "Usage", "scripted_lm"]

HAS_ENGINES = hasattr(dspy, "lm15")
NOTHING = Usage(input_tokens=0, output_tokens=0)


def scripted_lm(answers: Answers, **lm_kwargs: Any) -> dspy.LM:
    """Make an LM that follows a script and is a `dspy.LM` in everything else.

    Args:
        answers: A list consumed in order whose last answer repeats, one answer for every request, or a function from
            messages to an answer. An answer is a raw completion, a dict of output fields, an exception, or an `Answer`.
        lm_kwargs: Arguments of `dspy.LM`; by default the model is "scripted/model", without cache and retries.

    Returns:
        The LM; its `script` holds the requests it got. DSPy 3.4 raises a foreign exception as `LMUnexpectedError`.
    """
    script = Script(answers)
    settings = {"model": "scripted/model", "cache": False, "num_retries": 0, **lm_kwargs}
    if not HAS_ENGINES:
        return ScriptedLM(script, **settings)
    lm = dspy.LM(engine=ScriptedEngine(script), async_engine=AsyncScriptedEngine(script), **settings)
    lm.script = script
    return lm


class ScriptedEngine:
    """The script as an engine: one canonical request in, one canonical response or stream of events out."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request."""
        answer = self.script.next(request_messages(request))
        if answer.latency:  # Sleeping for no time at all hands the processor to whoever waits for it.
            time.sleep(answer.latency)
        return engine_response(answer, request)

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """Answer one request word by word."""
        yield from stream_events(self.complete(request))

    def close(self) -> None:
        """Release nothing: a script holds no connection."""


class AsyncScriptedEngine:
    """The same engine for `acall`: waits without blocking the event loop."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request."""
        answer = self.script.next(request_messages(request))
        await asyncio.sleep(answer.latency)
        return engine_response(answer, request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """Answer one request word by word."""
        for event in stream_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Release nothing: a script holds no connection."""


def request_messages(request: lm15.Request) -> Messages:
    """Return a request's messages as the role and content dicts that older releases pass; non-text parts as objects."""
    system = [] if request.system is None else [{"role": "system", "content": request.system}]
    turns = [(turn.role, turn.parts if turn.text is None else turn.text) for turn in request.messages]
    return system + [{"role": role, "content": content} for role, content in turns]


def engine_response(answer: Answer, request: lm15.Request) -> lm15.Response:
    """Return an answer as a canonical response, or raise its exception."""
    usage = dspy.lm15.Usage(
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cache_read_tokens=answer.usage.cached_tokens,
        reasoning_tokens=answer.usage.reasoning_tokens,
    )
    return dspy.lm15.Response(
        id=None,
        model=request.model,
        message=dspy.lm15.Message.assistant(answer.completion()),
        finish_reason=answer.finish_reason,
        usage=usage,
    )


def stream_events(response: lm15.Response) -> Iterator[Any]:
    """Cut a response into the events of a stream, one delta per word."""
    start, *deltas, end = dspy.lm15.response_to_events(response)
    yield start
    for event in deltas:
        for piece in pieces(event.delta.text):
            yield dspy.lm15.StreamDeltaEvent(delta=dspy.lm15.TextDelta(text=piece, part_index=event.delta.part_index))
    yield end


class ScriptedLM(dspy.LM):
    """The script where DSPy has no engines: it stands in for LiteLLM under `forward`, which caches and counts."""

    def __init__(self, script: Script, **lm_kwargs: Any) -> None:
        super().__init__(**lm_kwargs)
        self.script = script

    def _get_cached_completion_fn(self, completion_fn: Callable[..., Any], cache: bool) -> Any:
        own = self._acomplete if inspect.iscoroutinefunction(completion_fn) else self._complete
        return super()._get_cached_completion_fn(own, cache)

    def _complete(self, request: dict[str, Any], **_: Any) -> litellm.ModelResponse:
        answers = self._answers(request)
        if latency := max(answer.latency for answer in answers):
            time.sleep(latency)
        response = litellm_response(answers, request)
        if (stream := dspy.settings.send_stream) is not None:
            for chunk in litellm_chunks(response):
                from_thread.run(stream.send, chunk)
        return response

    async def _acomplete(self, request: dict[str, Any], **_: Any) -> litellm.ModelResponse:
        answers = self._answers(request)
        await asyncio.sleep(max(answer.latency for answer in answers))
        response = litellm_response(answers, request)
        if (stream := dspy.settings.send_stream) is not None:
            for chunk in litellm_chunks(response):
                await stream.send(chunk)
        return response

    def _answers(self, request: dict[str, Any]) -> list[Answer]:
        return [self.script.next(request["messages"]) for _ in range(request.get("n") or 1)]


def litellm_response(answers: list[Answer], request: dict[str, Any]) -> litellm.ModelResponse:
    """Return one choice per answer as LiteLLM would, or raise the first exception among them."""
    import litellm  # slow to import, and needed only where the release has no engines

    choices = [
        {
            "index": index,
            "finish_reason": answer.finish_reason,
            "message": {"role": "assistant", "content": answer.completion()},
        }
        for index, answer in enumerate(answers)
    ]
    usage = sum((answer.usage for answer in answers), NOTHING)
    return litellm.ModelResponse(model=request["model"], choices=choices, usage=litellm.Usage(**usage.as_openai()))


def litellm_chunks(response: litellm.ModelResponse) -> Iterator[litellm.ModelResponseStream]:
    """Cut the first choice of a response into LiteLLM's stream chunks, addressed to the predictor that asked."""
    import litellm

    caller = dspy.settings.caller_predict
    for piece in pieces(response.choices[0].message.content):
        chunk = litellm.ModelResponseStream(model=response.model, choices=[{"index": 0, "delta": {"content": piece}}])
        chunk.predict_id = id(caller) if caller else None
        yield chunk

"""What the span of an LM call says: what was asked, what came back, and how it went. Pure."""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mlflow.entities import SpanEvent, SpanType
from mlflow.tracing.constant import SpanAttributeKey

from mlflow_dspy_plugin import usage
from mlflow_dspy_plugin.redaction import redact_named
from mlflow_dspy_plugin.seams.lm_calls import Attempt
from mlflow_dspy_plugin.seams.lm_shapes import (
    Answer,
    Chunk,
    answer_of,
    choices_of_outputs,
    messages_of,
    parameters_of,
    schema_of,
)
from mlflow_dspy_plugin.seams.spans import OUTPUTS
from mlflow_dspy_plugin.tracing import messages
from mlflow_dspy_plugin.tracing.spans import Opening

# The form of inputs and outputs: under DSPy's own, MLflow's UI shows texts only, and its export to
# OpenTelemetry fails on lists.
_FORMAT = "openai"
# Parameters that are as long as messages stand in the inputs only.
# Of the parameters, texts and what holds texts are the user's, but for those that choose among a few words.
_WRITTEN = (str, list, tuple, Mapping)
_WORDS = {"reasoning_effort", "service_tier", "tool_choice", "verbosity", "model", "modalities"}
_LONG_PARAMETERS = {"tools", "functions", "response_format", "prompt_cache"}
# Where it is sent to is no part of what is sent: an attribute says it.
_ADDRESSES = {"api_base", "base_url"}
_CUT_SHORT = "length"
_MILLISECOND = 1_000_000
# No more events than this, however many chunks a stream has.
_MOST_CHUNKS = 64


@dataclass
class Chunks:
    """The chunks of a stream: when each came and how many characters had come by then.

    Their texts stay out: a secret that is cut into pieces is not known for one. Of many chunks,
    every second is dropped, then every fourth and so on; the first and the last are always there.
    """

    count: int = 0
    characters: int = 0
    tells_usage: bool = False
    # (number from 1, nanoseconds since the epoch, characters so far)
    kept: list[tuple[int, int, int]] = field(default_factory=list)
    last: tuple[int, int, int] | None = None
    _stride: int = 1

    def add(self, chunk: Chunk) -> None:
        self.count += 1
        self.characters += chunk.characters
        self.tells_usage = self.tells_usage or chunk.tells_usage
        self.last = (self.count, time.time_ns(), self.characters)
        if (self.count - 1) % self._stride == 0:
            self.kept.append(self.last)
        if len(self.kept) == _MOST_CHUNKS:
            del self.kept[1::2]
            self._stride *= 2

    def all(self) -> list[tuple[int, int, int]]:
        """Those that were kept, and the last one."""
        return self.kept + ([self.last] if self.last is not None and self.last is not self.kept[-1] else [])


@dataclass(eq=False)
class LMCall:
    """What is learnt of an LM call while it runs.

    Attributes:
        around: The LM call that this one was made by, if any.
        result: What DSPy keeps of it.
        attempts: What it took to get an answer.
        chunks: What came as a stream.
        saved: The usage of the call that DSPy's cache has answered from.
        calls_others: Whether an LM that it called has answered, and so has figures of its own.
    """

    around: "LMCall | None" = None
    result: Any = None
    attempts: list[Attempt] = field(default_factory=list)
    chunks: Chunks = field(default_factory=Chunks)
    saved: Mapping[str, Any] = field(default_factory=dict)
    calls_others: bool = False

    def take(self, result: Any) -> None:
        """Keep what came back; it is not billed to the LM calls around this one."""
        self.result = result
        around = None if getattr(result, "cache_hit", False) else self.around
        while around is not None:
            around.calls_others = True
            around = around.around

    @functools.cached_property
    def answer(self) -> Answer:
        """What came back, once it has: as plain data."""
        return answer_of(self.result) if self.result is not None else Answer()


def opening(lm: Any, inputs: Mapping[str, Any], call: LMCall) -> Opening:
    """What the span says before the call: model, provider and parameters, as asked for.

    Args:
        lm: The language model.
        inputs: Its arguments.
        call: What will be learnt of the call, for its end.
    """
    model = str(getattr(lm, "model", ""))
    model_type = getattr(lm, "model_type", None)
    short = {key: value for key, value in parameters_of(lm, inputs).items() if key not in _LONG_PARAMETERS}
    attributes = {
        **redact_named(short),
        "model": model,
        "model_type": model_type,
        "cache": (inputs.get("kwargs") or {}).get("cache", getattr(lm, "cache", None)),
        SpanAttributeKey.MESSAGE_FORMAT: _FORMAT,
        usage.MODEL: model,
    }
    if "/" in model:
        attributes[usage.PROVIDER] = model.split("/", 1)[0]
    span_type = SpanType.CHAT_MODEL if model_type == "chat" else SpanType.LLM
    content = frozenset(key for key, value in short.items() if isinstance(value, _WRITTEN) and key not in _WORDS)
    told = {"ending": partial(ending, call), "events": partial(events, call)}
    return Opening(f"{type(lm).__name__}.__call__", span_type, attributes, content, **told)


def request(lm: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of the span: OpenAI's chat form of what is asked, whatever the API of the model."""
    parameters = {key: value for key, value in parameters_of(lm, inputs).items() if key not in _ADDRESSES}
    if "response_format" in parameters:
        parameters["response_format"] = schema_of(parameters["response_format"])
    return {"messages": messages.conversation(messages_of(inputs)), **parameters}


def ending(call: LMCall, outputs: Any) -> dict[str, Any]:
    """All that the span says after the call, by the names of its attributes."""
    told, attributes = response(call, outputs)
    return attributes if told is None else {**attributes, OUTPUTS: told}


def response(call: LMCall, outputs: Any) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The outputs of the span, and its attributes after the call.

    Not the list that DSPy returns: MLflow's UI shows no calls of tools and no reasoning from it, and
    its export to OpenTelemetry drops the messages of such a span, those of the inputs too.

    Args:
        call: What was learnt of the call.
        outputs: What it returned; None where it failed.
    """
    answer = call.answer
    attributes = {**_figures(call, answer), **_served(call, answer), **_course(call, answer)}
    return _outputs(answer, outputs), {key: value for key, value in attributes.items() if value not in (None, {}, [])}


def events(call: LMCall) -> list[SpanEvent]:
    """What happened on the way: requests that failed, chunks, an answer that was cut short."""
    told = [*_retries(call), *_chunks(call)]
    if _CUT_SHORT in _reasons(call.answer):
        told.append(SpanEvent("truncated", time.time_ns(), {"finish_reason": _CUT_SHORT}))
    return told


def _outputs(answer: Answer, outputs: Any) -> dict[str, Any] | None:
    if outputs is None:
        return None
    choices = answer.choices or choices_of_outputs(outputs)
    told = {"id": answer.id, "model": answer.model}
    named = {key: value for key, value in told.items() if value is not None}
    return {**named, "choices": messages.answers(choices)}


def _figures(call: LMCall, answer: Answer) -> dict[str, Any]:
    """What the call is billed for; what DSPy's cache has answered is not, but would have been."""
    cost = usage.cost_of(answer.cost)
    if answer.cache_hit:
        saved = usage.tokens_of(call.saved or {})
        return {"cache_saved_tokens": saved, "cache_saved_cost": cost and cost["total_cost"]}
    if call.calls_others:
        return {}
    tokens = usage.tokens_of(answer.usage)
    if not call.chunks.count or call.chunks.tells_usage:
        return {usage.USAGE: tokens, usage.COST: cost}
    # LiteLLM counts by itself what the provider was not asked to count, or says nought.
    return {usage.USAGE: tokens, usage.COST: cost, "usage_estimated": True} if any(tokens.values()) else {}


def _served(call: LMCall, answer: Answer) -> dict[str, Any]:
    """Who answered, and how the answer ended."""
    providers = [attempt.provider for attempt in call.attempts if attempt.provider is not None]
    reasons = _reasons(answer)
    return {
        usage.RESPONSE_MODEL: answer.model,
        "response_provider": answer.provider or (providers[-1] if providers else None),
        "response_id": answer.id,
        "finish_reasons": reasons,
        "truncated": True if _CUT_SHORT in reasons else None,
        "cache_hit": answer.cache_hit if call.result is not None else None,
    }


def _reasons(answer: Answer) -> list[str]:
    return [choice["finish_reason"] for choice in answer.choices if choice.get("finish_reason")]


def _course(call: LMCall, answer: Answer) -> dict[str, Any]:
    """How it went: requests, and milliseconds. A request that was repeated counts from its last sending."""
    sent = [_sendings(attempt) for attempt in call.attempts]
    answered = [attempt for attempt in call.attempts if attempt.ended is not None and attempt.error is None]
    requests = sum(map(len, sent))
    took = sum(attempt.ended - _sendings(attempt)[-1] for attempt in answered)
    first = call.chunks.kept[0][1] if call.chunks.kept else None
    begun = max((at for times in sent for at in times if first is not None and at <= first), default=None)
    return {
        "requests": requests or None,
        "retries": requests - max(len(answered), 1) if requests else None,
        "latency_ms": took / _MILLISECOND if answered else None,
        "time_to_first_token_ms": (first - begun) / _MILLISECOND if begun is not None else None,
        "chunks": call.chunks.count or None,
    }


def _sendings(attempt: Attempt) -> list[int]:
    """When the requests of an attempt left; one that nobody saw left when the attempt began."""
    return attempt.requests or [attempt.began]


def _retries(call: LMCall) -> list[SpanEvent]:
    """An event for each attempt after which DSPy has made another."""
    failed = [attempt for attempt in call.attempts[:-1] if attempt.error is not None]
    return [SpanEvent("retry", attempt.ended, _told_of(attempt.error)) for attempt in failed]


def _told_of(error: BaseException) -> dict[str, str]:
    """Its message is redacted like all content."""
    return {"error": type(error).__name__, "message": str(error)}


def _chunks(call: LMCall) -> list[SpanEvent]:
    return [SpanEvent("chunk", at, {"number": number, "characters": size}) for number, at, size in call.chunks.all()]

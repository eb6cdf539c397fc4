"""`/v1/chat/completions`: OpenAI's chat completions, whole or as a stream."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from starlette.types import ASGIApp

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.server import openapi, sse
from mlflow_dspy_plugin.server.bodies import json_response, object_of, read_by, taken
from mlflow_dspy_plugin.server.endpoint import Asked, Endpoint
from mlflow_dspy_plugin.server.observing import current_request
from mlflow_dspy_plugin.serving.chat import Answered
from mlflow_dspy_plugin.serving.completions import Chunks, completion_of
from mlflow_dspy_plugin.serving.requests import ChatRequest

_USAGE = "usage"


async def answer(asked: Asked) -> ASGIApp:
    """Answer a request to the model that it names; without a name to the first."""
    body = await read_by(object_of, asked.body, asked.content_type)
    name = taken(body, "model", str, "the name of a model") or None
    served = asked.server.models.answering(name)
    streams = taken(body, "stream", bool, "true or false")
    _check_form(taken(body, "response_format", dict, "an object"))
    with_usage = _with_usage(taken(body, "stream_options", dict, "an object"))
    # Of a language model, if it is none of a served model.
    request = served.chat.read(body if name in (None, served.name) else {**body, "model": name})
    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(asked.server.turn(served))
        if not streams:
            return json_response(_completion(await served.chat.aanswer(request), request))
        model, told = served.chat.astream(request)
        await held.enter_async_context(contextlib.aclosing(told))
        chunks = Chunks(model, request.asked.return_trace_id)
        return sse.EventStream(_sent(chunks, await sse.begun(told), with_usage), held.pop_all())


def _check_form(told: Mapping[str, Any] | None) -> None:
    """Refuse what would be ignored: the fields of its answer are the program's to say."""
    if told is not None and told.get("type") != "text":
        raise InputError(f"'response_format' is {told!r:.100}. This model answers in text alone; leave it out.")


def _with_usage(options: Mapping[str, Any] | None) -> bool:
    given = (options or {}).get("include_usage")
    if given is not None and not isinstance(given, bool):
        raise InputError(f"'stream_options.include_usage' is {given!r:.100}. Give true or false, or leave it out.")
    return bool(given)


def _completion(answered: Answered, request: ChatRequest) -> dict[str, Any]:
    current_request().trace_id = answered.trace_id
    completion = completion_of(answered.replies, answered.model, answered.spent)
    if request.asked.return_trace_id:
        completion[names.ANSWER_TRACE_ID] = answered.trace_id
    return completion


async def _sent(chunks: Chunks, told: AsyncIterator[Any], with_usage: bool) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks as OpenAI sends them: the usage in one of its own, after all others, if it is asked for."""
    yield _chunk(chunks.first(), with_usage)
    async for each in told:
        if isinstance(each, Answered):
            current_request().trace_id = each.trace_id
        for chunk in chunks.of(each):
            usage = chunk.pop(_USAGE, None)
            yield _chunk(chunk, with_usage)
            if with_usage and usage is not None:
                yield {**chunk, "choices": [], _USAGE: usage}


def _chunk(chunk: dict[str, Any], with_usage: bool) -> dict[str, Any]:
    return {**chunk, _USAGE: None} if with_usage else chunk


_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "model": {"type": ["string", "null"], "description": "A model of /v1/models; the first by default."},
        "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"}},
        "stream": {"type": ["boolean", "null"]},
        "stream_options": {"type": ["object", "null"], "properties": {"include_usage": {"type": ["boolean", "null"]}}},
        "temperature": {"type": ["number", "null"]},
        "top_p": {"type": ["number", "null"]},
        "max_tokens": {"type": ["integer", "null"], "minimum": 1},
        "max_completion_tokens": {"type": ["integer", "null"], "minimum": 1},
        "n": {"type": ["integer", "null"], "minimum": 1},
        "seed": {"type": ["integer", "null"]},
        "stop": {"type": ["string", "array", "null"], "items": {"type": "string"}},
        "presence_penalty": {"type": ["number", "null"]},
        "frequency_penalty": {"type": ["number", "null"]},
        "reasoning_effort": {"type": ["string", "null"]},
        "tools": {"type": ["array", "null"], "items": {"type": "object"}},
        "tool_choice": {"type": ["string", "object", "null"]},
        "user": {"type": ["string", "null"]},
        "custom_inputs": {"type": ["object", "null"], "description": "Other inputs of the program."},
        names.PARAM_TRACE_ID: {"type": ["boolean", "null"]},
        names.PARAM_STATUS: {"type": ["boolean", "null"]},
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/chat/completions",
        answer,
        {
            "summary": "Have a model answer a conversation",
            "requestBody": openapi.json_body(_BODY),
            "responses": openapi.answered(_ANSWER, "OpenAIError", streams=True),
        },
    ),
)

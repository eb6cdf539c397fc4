"""`/v1/responses`: OpenAI's Responses, whole or as a stream."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent
from starlette.types import ASGIApp

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.seams.responses import agent_request_of
from mlflow_dspy_plugin.server import openapi, sse
from mlflow_dspy_plugin.server.bodies import json_response, object_of, read_by, taken
from mlflow_dspy_plugin.server.endpoint import Asked, Endpoint
from mlflow_dspy_plugin.server.response_events import ResponseEvents

# What a client tells of what it believes that the server has kept.
_OF_A_STATE = ("previous_response_id", "conversation", "prompt")


async def answer(asked: Asked) -> ASGIApp:
    """Answer a request to the model that it names; without a name to the first."""
    body = await read_by(object_of, asked.body, asked.content_type)
    if unkept := [key for key in _OF_A_STATE if body.get(key) is not None]:
        raise InputError(f"{', '.join(unkept)}: this server keeps no conversations. Send all turns as 'input'.")
    name = taken(body, "model", str, "the name of a model") or None
    served = asked.server.models.answering(name)
    streams = taken(body, "stream", bool, "true or false")
    # Of a language model, if it is none of a served model.
    request = agent_request_of(body if name in (None, served.name) else {**body, "model": name})
    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(asked.server.turn(served))
        if not streams:
            return json_response(_plain(await served.agent.apredict(request)))
        told = await held.enter_async_context(contextlib.aclosing(served.agent.apredict_stream(request)))
        events = ResponseEvents(name or served.name)
        return sse.EventStream(_sent(events, await sse.begun(told)), held.pop_all())


def _plain(told: ResponsesAgentResponse | ResponsesAgentStreamEvent) -> dict[str, Any]:
    return told.model_dump(exclude_none=True)


async def _sent(
    events: ResponseEvents, told: AsyncIterator[ResponsesAgentStreamEvent]
) -> AsyncGenerator[dict[str, Any], None]:
    yield events.first()
    async for each in told:
        for event in events.of(_plain(each)):
            yield event


_ITEM = {"type": "object", "description": "A message, a call of a function or its output."}
_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["input"],
    "properties": {
        "model": {"type": ["string", "null"], "description": "A model of /v1/models; the first by default."},
        "input": {"type": ["string", "array"], "items": _ITEM},
        "instructions": {"type": ["string", "null"]},
        "stream": {"type": ["boolean", "null"]},
        "temperature": {"type": ["number", "null"]},
        "top_p": {"type": ["number", "null"]},
        "max_output_tokens": {"type": ["integer", "null"]},
        "reasoning": {"type": ["object", "null"]},
        "tools": {"type": ["array", "null"], "items": {"type": "object"}},
        "tool_choice": {"type": ["string", "object", "null"]},
        "user": {"type": ["string", "null"]},
        "custom_inputs": {"type": ["object", "null"], "description": "Other inputs of the program."},
        "context": {"type": ["object", "null"], "description": "Whose request it is, as MLflow's agents have it."},
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "output"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "response"},
        "output": {"type": "array", "items": {"type": "object"}},
    },
}

ENDPOINTS = (
    Endpoint(
        "POST",
        "/v1/responses",
        answer,
        {
            "summary": "Have a model respond to what it is given",
            "requestBody": openapi.json_body(_BODY),
            "responses": openapi.answered(_ANSWER, "OpenAIError", streams=True),
        },
    ),
)

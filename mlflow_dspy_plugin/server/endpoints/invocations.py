"""`/invocations`: MLflow's protocol, and beside its input `stream: true` for an answer as it is made."""

import contextlib
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from mlflow_dspy_plugin.seams.invocations import FORMATS, Read, decoded, written
from mlflow_dspy_plugin.server import openapi, sse
from mlflow_dspy_plugin.server.bodies import json_response, read_by, taken
from mlflow_dspy_plugin.server.endpoint import Asked, Endpoint
from mlflow_dspy_plugin.server.models import ServedModel


async def answer(asked: Asked) -> ASGIApp:
    """Answer a request to the model that the path names, or to the first."""
    served = asked.server.models.current(asked.named.get("name"))
    streams, read = await read_by(_read, asked.body, asked.content_type, served)
    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(asked.server.turn(served))
        held.enter_context(served.invocations.answering())
        if not streams:
            return json_response(written(await served.pyfunc.apredict(read.data, read.params), read.is_unwrapped))
        told = await held.enter_async_context(
            contextlib.aclosing(served.pyfunc.apredict_stream(read.data, read.params))
        )
        return sse.EventStream(await sse.begun(told), held.pop_all())


def _read(body: bytes, content_type: str, served: ServedModel) -> tuple[bool, Read]:
    """Whether the answer is to be a stream, and the input."""
    if content_type.partition(";")[0].strip() not in FORMATS:
        raise HTTPException(415, f"The body is of the type {content_type!r:.100}. Send one of {', '.join(FORMATS)}.")
    told = decoded(body, content_type)
    streams = isinstance(told, dict) and taken(told, "stream", bool, "true or false")
    return bool(streams), served.invocations.read(told, content_type)


_INPUT: dict[str, Any] = {
    "type": "object",
    "description": "One of MLflow's four forms of an input, or OpenAI's own body for a model of that task.",
    "properties": {
        "dataframe_split": {
            "type": "object",
            "properties": {
                "columns": {"type": "array", "items": {}},
                "index": {"type": "array", "items": {}},
                "data": {"type": "array", "items": {"type": "array", "items": {}}},
            },
            "required": ["data"],
        },
        "dataframe_records": {"type": "array", "items": {"type": "object"}},
        "instances": {},
        "inputs": {},
        "messages": {"type": "array", "items": {"$ref": "#/components/schemas/Message"}},
        "input": {"description": "For a model of the task agent/v1/responses."},
        "params": {"type": ["object", "null"], "description": "What holds for this request alone."},
        "stream": {"type": ["boolean", "null"], "description": "Whether to answer by server-sent events."},
    },
    "anyOf": [
        {"required": [key]}
        for key in ("dataframe_split", "dataframe_records", "instances", "inputs", "messages", "input")
    ],
}
_ANSWER: dict[str, Any] = {
    "description": "The predictions; of a model of an OpenAI task its answer by itself.",
    "type": "object",
    "properties": {"predictions": {}},
}
_DESCRIBED = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _INPUT},
            "text/csv": {"schema": {"type": "string"}},
            "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": openapi.answered(_ANSWER, "MlflowError", streams=True),
}
_NAMED = {**_DESCRIBED, "parameters": [openapi.MODEL_NAME]}

ENDPOINTS = (
    Endpoint("POST", "/invocations", answer, {**_DESCRIBED, "summary": "Ask the first model"}),
    Endpoint("POST", "/models/{name}/invocations", answer, {**_NAMED, "summary": "Ask a model by its name"}),
)

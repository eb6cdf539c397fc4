"""`/invocations`: MLflow's protocol, and beside its input `stream: true` for an answer as it is made."""

import contextlib
from typing import Any

from mlflow.exceptions import MlflowException
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.seams.invocations import FORMATS, Read, written
from mlflow_dspy_plugin.server import openapi, sse
from mlflow_dspy_plugin.server.bodies import JSON, json_response, object_of, read_by, taken
from mlflow_dspy_plugin.server.endpoint import Asked, Endpoint
from mlflow_dspy_plugin.server.models import ServedModel
from mlflow_dspy_plugin.server.tables import check_unpacked
from mlflow_dspy_plugin.serving.calls import Ending


async def answer(asked: Asked) -> ASGIApp:
    """Answer a request to the model that the path names, or to the first."""
    served = asked.server.models.current(asked.named.get("name"))
    streams, read = await read_by(_read, asked.body, asked.content_type, served, asked.server.settings.body_bytes)
    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(asked.server.turn(served))
        held.enter_context(served.invocations.answering())
        if not streams:
            return json_response(written(await served.pyfunc.apredict(read.data, read.params), read.is_unwrapped))
        told = await held.enter_async_context(
            contextlib.aclosing(served.pyfunc.apredict_stream(read.data, read.params))
        )
        return sse.EventStream(await sse.begun(told), held.pop_all())


def _read(body: bytes, content_type: str, served: ServedModel, most: int) -> tuple[bool, Read]:
    """Whether the answer is to be a stream, and the input."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in FORMATS:
        raise HTTPException(415, f"The body is of the type {content_type!r:.100}. Send one of {', '.join(FORMATS)}.")
    if media_type != JSON:
        check_unpacked(body, media_type, most)
        return False, _checked(served, body, content_type)
    # MLflow takes NaN for a missing number.
    told = object_of(body, content_type, is_strict=False)
    streams = taken(told, "stream", bool, "true or false")
    # MLflow takes them out.
    params = told.get("params")
    read = _checked(served, told, JSON)
    if not read.is_unwrapped:
        _check_params(params, served)
    return bool(streams), read


def _checked(served: ServedModel, told: bytes | dict[str, Any], content_type: str) -> Read:
    ending = Ending.of(lambda: served.invocations.read(told, content_type))
    if isinstance(ending.error, Exception) and not isinstance(ending.error, MlflowException):
        # What pandas and numpy make of strange values: too long a number, too deep a list.
        raise InputError(f"The input cannot be read ({type(ending.error).__name__}). Send other values.") from None
    return ending.result()


def _check_params(given: Any, served: ServedModel) -> None:
    """Refuse what MLflow would ignore: whoever gives a param expects something of it."""
    if given is not None and not isinstance(given, dict):
        raise InputError(f"'params' is {given!r:.100}. Give an object, or leave it out.")
    schema = served.metadata.get_params_schema()
    known = [param.name for param in schema.params] if schema else []
    if unknown := [name for name in given or () if name not in known]:
        raise InputError(f"This model has no params {unknown!r:.200}. It has {', '.join(known) or 'none'}.")


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
_TABLE = {"type": "string", "format": "binary", "description": "A table with the inputs as columns."}
_ANSWER: dict[str, Any] = {
    "description": "The predictions; of a model of an OpenAI task its answer by itself.",
    "type": "object",
    "properties": {"predictions": {}},
}
_DESCRIBED = {
    "requestBody": {
        "required": True,
        # MLflow 3.4 reads no parquet.
        "content": {each: {"schema": _INPUT if each == JSON else _TABLE} for each in FORMATS},
    },
    "responses": openapi.answered(_ANSWER, "MlflowError", streams=True),
}
_NAMED = {**_DESCRIBED, "parameters": [openapi.MODEL_NAME]}

ENDPOINTS = (
    Endpoint("POST", "/invocations", answer, {**_DESCRIBED, "summary": "Ask the first model"}),
    Endpoint("POST", "/models/{name}/invocations", answer, {**_NAMED, "summary": "Ask a model by its name"}),
)

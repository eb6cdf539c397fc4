"""`/v1/models`: which models are served, in which version."""

from typing import Any

from starlette.types import ASGIApp

from mlflow_dspy_plugin.server import openapi
from mlflow_dspy_plugin.server.bodies import json_response
from mlflow_dspy_plugin.server.endpoint import Asked, Endpoint
from mlflow_dspy_plugin.server.models import Models, ServedModel


async def answer_all(asked: Asked) -> ASGIApp:
    """List all."""
    models = asked.server.models
    return json_response({"object": "list", "data": [_model(each, models) for each in models]})


async def answer_one(asked: Asked) -> ASGIApp:
    """Tell of one."""
    models = asked.server.models
    return json_response(_model(models.current(asked.named["name"]), models))


def _model(served: ServedModel, models: Models) -> dict[str, Any]:
    """As OpenAI has it, and beside that what MLflow knows; not where it lies."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.loaded_at,
        "owned_by": "mlflow",
        "version": served.version,
        "task": served.task,
        "prompts": served.prompts and served.prompts.versions,
        "reload_failure": models.failure(served.name),
    }


_MODEL: dict[str, Any] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer", "description": "When it was loaded."},
        "owned_by": {"type": "string"},
        "version": {"type": ["string", "null"], "description": "Its version in the registry, else its id."},
        "task": {"type": ["string", "null"]},
        "prompts": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "integer"},
            "description": "The prompts of MLflow's registry that it follows: which version of each it says now.",
        },
        "reload_failure": {"type": ["string", "null"], "description": "Why a newer version does not answer yet."},
    },
}
_LIST: dict[str, Any] = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
}

ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/models",
        answer_all,
        {"summary": "List the models", "responses": openapi.told(_LIST, "OpenAIError")},
    ),
    Endpoint(
        "GET",
        "/v1/models/{name}",
        answer_one,
        {
            "summary": "Tell of a model",
            "parameters": [openapi.MODEL_NAME],
            "responses": openapi.told(_MODEL, "OpenAIError", may_lack=True),
        },
    ),
)

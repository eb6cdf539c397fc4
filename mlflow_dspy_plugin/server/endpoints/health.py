"""`/ping`, `/health` and `/version`: whether the server is there, and of which MLflow it is."""

from mlflow.version import VERSION
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from mlflow_dspy_plugin.server import openapi
from mlflow_dspy_plugin.server.bodies import json_response
from mlflow_dspy_plugin.server.endpoint import Asked, Endpoint


async def answer(asked: Asked) -> ASGIApp:
    """Say that all models are loaded: before that, nobody is answered."""
    return json_response({"status": "ok"})


async def answer_version(asked: Asked) -> ASGIApp:
    """Tell the release of MLflow, as its scoring server does."""
    return PlainTextResponse(VERSION)


_STATUS = {"type": "object", "properties": {"status": {"const": "ok"}}, "required": ["status"]}
_HEALTH = {"summary": "Whether the models are loaded", "responses": openapi.open_to_all(_STATUS), "security": []}

ENDPOINTS = (
    Endpoint("GET", "/ping", answer, _HEALTH),
    Endpoint("GET", "/health", answer, _HEALTH),
    Endpoint(
        "GET",
        "/version",
        answer_version,
        {"summary": "The release of MLflow", "responses": openapi.text("MlflowError")},
    ),
)

"""`/metrics`: what requests come to, for Prometheus."""

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from mlflow_dspy_plugin.server import openapi
from mlflow_dspy_plugin.server.endpoint import Asked, Endpoint
from mlflow_dspy_plugin.server.metrics import INSTALL


async def answer(asked: Asked) -> ASGIApp:
    """Tell all figures.

    Raises:
        HTTPException: If nothing keeps them here.
    """
    if asked.server.metrics is None:
        raise HTTPException(501, f"No figures are kept here. Install what keeps them: {INSTALL}")
    page, content_type = asked.server.metrics.page(asked.accepted)
    return Response(page, headers={"content-type": content_type})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/metrics",
        answer,
        {"summary": "Figures for Prometheus", "responses": openapi.text("MlflowError", 501)},
    ),
)

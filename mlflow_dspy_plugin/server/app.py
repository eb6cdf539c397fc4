"""The server as an app: its endpoints behind the gate, and what it does when it begins and ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mlflow_dspy_plugin.names import DISTRIBUTION
from mlflow_dspy_plugin.seams.mlflow import flush_traces
from mlflow_dspy_plugin.server import openapi, settings
from mlflow_dspy_plugin.server.endpoints import chat, health, invocations, models, responses
from mlflow_dspy_plugin.server.failures import failure_of
from mlflow_dspy_plugin.server.gate import Gate
from mlflow_dspy_plugin.server.keys import Keys
from mlflow_dspy_plugin.server.models import Models, load_model
from mlflow_dspy_plugin.server.observing import Observer
from mlflow_dspy_plugin.server.reach import check_reach
from mlflow_dspy_plugin.server.settings import ServerSettings
from mlflow_dspy_plugin.server.state import ServerState
from mlflow_dspy_plugin.server.taking_over import following_of
from mlflow_dspy_plugin.server.under_way import UnderWay
from mlflow_dspy_plugin.serving.admission import Admission
from mlflow_dspy_plugin.switch import autolog

_TITLE = "DSPy programs, served by MLflow"
ENDPOINTS = (
    *invocations.ENDPOINTS,
    *chat.ENDPOINTS,
    *responses.ENDPOINTS,
    *models.ENDPOINTS,
    *health.ENDPOINTS,
)


def from_environment() -> FastAPI:
    """The app that the environment describes, for `uvicorn --factory mlflow_dspy_plugin.server.app:from_environment`.

    Raises:
        SettingError: If the environment says what means nothing.
    """
    told = settings.from_environment()
    check_reach(told)
    return create_app(told)


def create_app(told: ServerSettings, observers: Sequence[Observer] = ()) -> FastAPI:
    """Make the app; it loads its models when it begins.

    Args:
        told: What it is told.
        observers: Who is told of each request.
    """
    under_way = UnderWay()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.server = await _begun(told)
        following = following_of(told, app.state.server.models, asyncio.get_running_loop())
        following.start()
        yield
        following.stop()
        await under_way.ended(told.drain)
        # Not in the pool, whose threads programs may hang in.
        await anyio.to_thread.run_sync(flush_traces)

    app = FastAPI(title=_TITLE, version=version(DISTRIBUTION), lifespan=lifespan, redirect_slashes=False)
    app.router.routes.extend(endpoint.route() for endpoint in ENDPOINTS)
    app.openapi = lambda: _document(app)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(Gate, settings=told, keys=Keys(told), observers=(under_way, *observers))
    return app


async def _begun(told: ServerSettings) -> ServerState:
    # Programs that cannot be awaited wait there for their language models.
    pool = ThreadPoolExecutor(told.concurrency, thread_name_prefix="mlflow-dspy-requests")
    asyncio.get_running_loop().set_default_executor(pool)
    if told.tracing:
        autolog()
    served = [await asyncio.to_thread(load_model, name, uri) for name, uri in told.models.items()]
    return ServerState(told, Models(served), Admission(told.concurrency, told.queue))


async def _refused(request: Request, error: HTTPException) -> Response:
    """The answer to what no endpoint has got: an unknown path or method."""
    return failure_of(error).response(request.url.path)


def _document(app: FastAPI) -> dict:
    operations = [(each.method, each.path, each.described) for each in ENDPOINTS]
    return openapi.document(app.title, app.version, operations)

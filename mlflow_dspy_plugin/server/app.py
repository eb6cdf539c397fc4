"""The server as an app: its endpoints behind the gate, and what it does when it begins and ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from importlib.metadata import version

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mlflow_dspy_plugin.delivery.adoption import write_last
from mlflow_dspy_plugin.metering import count_answers
from mlflow_dspy_plugin.names import DISTRIBUTION
from mlflow_dspy_plugin.seams.lm_connections import allow_connections
from mlflow_dspy_plugin.server import openapi, settings
from mlflow_dspy_plugin.server.access_log import AccessLog, start_access_log
from mlflow_dspy_plugin.server.endpoints import chat, health, invocations, models, responses
from mlflow_dspy_plugin.server.endpoints import metrics as figures
from mlflow_dspy_plugin.server.failures import failure_of
from mlflow_dspy_plugin.server.gate import Gate
from mlflow_dspy_plugin.server.keys import Keys
from mlflow_dspy_plugin.server.metrics import Metrics, are_installed
from mlflow_dspy_plugin.server.models import Models, ServedModel, load_model
from mlflow_dspy_plugin.server.observing import Observer
from mlflow_dspy_plugin.server.own_code import check_code
from mlflow_dspy_plugin.server.reach import check_reach
from mlflow_dspy_plugin.server.settings import ServerSettings
from mlflow_dspy_plugin.server.state import ServerState
from mlflow_dspy_plugin.server.taking_over import following_of
from mlflow_dspy_plugin.server.trace_headers import TraceHeaders
from mlflow_dspy_plugin.server.traces import Traces
from mlflow_dspy_plugin.server.under_way import UnderWay
from mlflow_dspy_plugin.serving.admission import Admission

_LM_CONNECTIONS = 1024
_TITLE = "DSPy programs, served by MLflow"
ENDPOINTS = (
    *invocations.ENDPOINTS,
    *chat.ENDPOINTS,
    *responses.ENDPOINTS,
    *models.ENDPOINTS,
    *health.ENDPOINTS,
    *figures.ENDPOINTS,
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
    metrics = Metrics(lambda: getattr(app.state, "server", None)) if are_installed() else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log = start_access_log() if told.access_log else None
        try:
            app.state.server = await _begun(told, metrics)
            following = following_of(told, app.state.server, asyncio.get_running_loop())
            following.start()
            async with app.state.server.traces.begun():
                yield
            following.stop()
            await under_way.ended(told.drain)
            if told.tracing:
                await asyncio.to_thread(write_last)
        finally:
            if log is not None:
                log.close()

    app = FastAPI(title=_TITLE, version=version(DISTRIBUTION), lifespan=lifespan, redirect_slashes=False)
    app.router.routes.extend(endpoint.route() for endpoint in ENDPOINTS)
    app.openapi = lambda: _document(app)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(
        Gate, settings=told, keys=Keys(told), observers=(under_way, *_observers(told, metrics), *observers)
    )
    return app


def _observers(told: ServerSettings, metrics: Metrics | None) -> Iterator[Observer]:
    if told.access_log:
        yield AccessLog()
    if metrics is not None:
        yield metrics
    if told.tracing:
        yield TraceHeaders()


async def _begun(told: ServerSettings, metrics: Metrics | None) -> ServerState:
    # A request may ask several language models at once.
    allow_connections(max(_LM_CONNECTIONS, told.concurrency))
    count_answers()
    served = [await asyncio.to_thread(_loaded, name, uri) for name, uri in told.models.items()]
    return ServerState(told, Models(served), Admission(told.concurrency, told.queue), Traces(told.tracing), metrics)


def _loaded(name: str, uri: str) -> ServedModel:
    served = load_model(name, uri)
    # One before it may have brought modules of the same names.
    check_code(served)
    return served


async def _refused(request: Request, error: HTTPException) -> Response:
    """The answer to what no endpoint has got: an unknown path or method."""
    return failure_of(error).response(request.url.path)


def _document(app: FastAPI) -> dict:
    operations = [(each.method, each.path, each.described) for each in ENDPOINTS]
    return openapi.document(app.title, app.version, operations)

"""How MLflow's scoring server answers requests to its model.

It hands each to the default executor of its event loop, which has as many threads as the machine has cores, and four
more: far fewer than a language model can take, since a thread only waits for it.
"""

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.seams.patch import patch

# The module that loads the model and then makes the app, while it is imported.
_APP = "mlflow.pyfunc.scoring_server.app"
# Body and type -> the JSON of the answer.
Answer = Callable[[bytes, str], Awaitable[str]]


def loads_for_server() -> bool:
    """Whether MLflow's scoring server is loading its model now."""
    module = sys.modules.get(_APP)
    return module is not None and not hasattr(module, "app")


def answer_by(answer: Answer) -> None:
    """Have the scoring server that is loading its model answer `/invocations` by a coroutine, and not in its threads.

    A release of FastAPI that cannot be told what to do at its start keeps its way.

    Args:
        answer: Answers a request; raises `MlflowException`.
    """
    import fastapi

    if "lifespan" not in inspect.signature(fastapi.FastAPI.__init__).parameters:
        return

    @contextlib.asynccontextmanager
    async def ahead(app: Any) -> AsyncIterator[None]:
        # What the app is called through, once it has begun.
        app.middleware_stack = _Ahead(app.middleware_stack, answer)
        yield

    def make(original):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            undo()
            original(self, *args, **{"lifespan": ahead, **kwargs})

        return __init__

    # The server makes its app of it next; uvicorn makes the loop itself, and tells nobody.
    undo = patch(fastapi.FastAPI, "__init__", make)


class _Ahead:
    """Answers requests to the model, and leaves all else to MLflow's app."""

    def __init__(self, app: Any, answer: Answer) -> None:
        self._app, self._answer = app, answer
        self._timeout = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", "/invocations"):
            await self._app(scope, receive, send)
            return
        from starlette.requests import ClientDisconnect, Request

        with contextlib.suppress(ClientDisconnect):
            response = await self._response(Request(scope, receive))
            await response(scope, receive, send)

    async def _response(self, request: Any) -> Any:
        from starlette.responses import Response

        try:
            text, status = await asyncio.wait_for(self._told(request), self._timeout), 200
        except MlflowException as error:
            text, status = error.serialize_as_json(), error.get_http_status_code()
        except asyncio.TimeoutError:
            text, status = "Request processing time exceeded limit", 504
        return Response(text, status, media_type="application/json")

    async def _told(self, request: Any) -> str:
        return await self._answer(await request.body(), request.headers.get("content-type", ""))

"""One path of a server: what answers there, and how the API's page describes that."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mlflow_dspy_plugin.server.observing import current_request
from mlflow_dspy_plugin.server.state import ServerState


@dataclass(frozen=True)
class Asked:
    """A request, as an endpoint gets it.

    Attributes:
        server: Whom it was sent to.
        body: All of its body.
        content_type: What it says of that.
        accepted: The types of answers that the client reads.
        named: What the path names, by the names in its template.
    """

    server: ServerState
    body: bytes
    content_type: str
    accepted: str
    named: Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    """A path and a method.

    Attributes:
        method: Of HTTP.
        path: Its template.
        answer: Answers a request; what it raises is answered elsewhere.
        described: As an operation of OpenAPI.
    """

    method: str
    path: str
    answer: Callable[[Asked], Awaitable[ASGIApp]]
    described: Mapping[str, Any]

    def route(self) -> Route:
        """As Starlette routes to it."""
        return Route(self.path, _Answering(self), methods=[self.method], name=f"{self.method} {self.path}")


class _Answering:
    """An endpoint, as an app: nothing stands between it and the router."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        current_request().path = self._endpoint.path
        http = HttpRequest(scope, receive)
        body = await http.body() if self._endpoint.method == "POST" else b""
        content_type, accepted = http.headers.get("content-type", ""), http.headers.get("accept", "")
        asked = Asked(scope["app"].state.server, body, content_type, accepted, scope["path_params"])
        response = await self._endpoint.answer(asked)
        await response(scope, receive, send)

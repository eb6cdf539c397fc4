"""Answers as server-sent events: what each looks like, and a response that sends them as they come."""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from mlflow_dspy_plugin.server.bodies import strict
from mlflow_dspy_plugin.server.failures import Failure, failure_of, log_fault
from mlflow_dspy_plugin.server.observing import current_request
from mlflow_dspy_plugin.serving.calls import Ending

MEDIA_TYPE = b"text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"
_HEADERS = [
    (b"content-type", MEDIA_TYPE),
    (b"cache-control", b"no-cache"),
    # nginx would hold events back until it has a page of them.
    (b"x-accel-buffering", b"no"),
]
_NOTHING = object()


def event(data: Mapping[str, Any]) -> bytes:
    """An event that tells an object."""
    return b"data: %s\n\n" % strict(json.dumps(data, separators=(",", ":"), default=str)).encode()


def failed(error: Exception, path: str) -> bytes:
    """The event that tells why there are no more: under `error`, where clients look for it, whatever the path."""
    return _failed(failure_of(error), path)


def _failed(failure: Failure, path: str) -> bytes:
    told = failure.body(path)
    return event(told if "error" in told else {"error": told})


async def begun(told: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    """All that is told, once the first of it is there: what fails before is answered by a status, and not in a stream.

    Whoever calls closes what tells.
    """
    return _after(await anext(told, _NOTHING), told)


async def _after(first: Any, told: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
    if first is not _NOTHING:
        yield first
        async for each in told:
            yield each


class EventStream:
    """A response of events; what fails on its way is the last of them.

    Args:
        told: An object each.
        held: Closed at the end, however that is: what the stream needs, and its turn.
    """

    def __init__(self, told: AsyncGenerator[Mapping[str, Any], None], held: contextlib.AsyncExitStack) -> None:
        self._told, self._held = told, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all, and then the end."""
        async with self._held, contextlib.aclosing(self._told):
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            ending = await Ending.awaited(self._send(send))
            if ending.error is None:
                last = DONE
            elif isinstance(ending.error, Exception):
                failure = failure_of(ending.error)
                log_fault(ending.error, current_request().request_id, failure)
                last = _failed(failure, scope["path"])
            else:
                raise ending.error
            await send({"type": "http.response.body", "body": last})

    async def _send(self, send: Send) -> None:
        async for each in self._told:
            await send({"type": "http.response.body", "body": event(each), "more_body": True})

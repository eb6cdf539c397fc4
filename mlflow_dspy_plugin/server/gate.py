"""What every request passes, whatever its path: who it is from, how long it is, how long it takes, and whether its
client still waits.

As plain ASGI around the app: what an endpoint raises ends here, as an answer.
"""

import asyncio
import re
import uuid
from collections.abc import Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.server import sse
from mlflow_dspy_plugin.server.failures import failure_of, log_fault
from mlflow_dspy_plugin.server.keys import Keys
from mlflow_dspy_plugin.server.observing import Observer, Request, observed
from mlflow_dspy_plugin.server.reach import comes_from_afar
from mlflow_dspy_plugin.server.settings import ServerSettings
from mlflow_dspy_plugin.serving.calls import Ending

# Asked by what starts and stops servers, which has no key.
_OPEN_PATHS = ("/ping", "/health")
_BEARER = b"bearer "
_SANE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_LEFT, _LATE = "left", "late"


class Gate:
    """Lets requests through to the app.

    Args:
        app: What answers.
        settings: How long a request may be, and may take.
        keys: Who may call.
        observers: Who is told of each request.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, keys: Keys, observers: Sequence[Observer]) -> None:
        self._app, self._settings, self._keys, self._observers = app, settings, keys, observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, in any case."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request = Request(_id_of(headers), scope["method"], scope["headers"])
        with observed(request, self._observers):
            answer = _Answer(send, request)
            ending = await Ending.awaited(self._pass(scope, headers, receive, answer))
            if isinstance(ending.error, Exception):
                await answer.fail(ending.error, scope, receive)
                return
            if isinstance(ending.error, asyncio.CancelledError):
                await answer.fail(
                    HTTPException(503, "The server has ended meanwhile. Send this again."), scope, receive
                )
            ending.result()

    async def _pass(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, answer: "_Answer") -> None:
        answer.request.key = self._key_of(scope, headers)
        if scope["method"] != "POST":
            await self._app(scope, receive, answer.send)
            return
        body = await self._body(headers, receive)
        if body is None:
            return
        answer.request.received = len(body)
        patience = _Patience(answer, self._settings.timeout)
        await patience.wait_for(self._app(scope, _told(body), answer.send), receive)
        if patience.ended_by == _LATE:
            await answer.end_late(scope, receive, self._settings.timeout)

    def _key_of(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str | None:
        if scope["path"] in _OPEN_PATHS:
            return None
        if not self._keys.are_asked_for:
            if not self._settings.open_to_all and comes_from_afar(scope, headers.get(b"host", b"").decode("latin-1")):
                raise HTTPException(403, _CLOSED)
            return None
        told = headers.get(b"authorization", b"")
        key = told[len(_BEARER) :].strip() if told[: len(_BEARER)].lower() == _BEARER else b""
        label = self._keys.label_of(key)
        if label is None:
            what = "That key is none of this server's." if key else "This server answers those who have a key."
            raise HTTPException(401, f"{what} Send the header Authorization: Bearer <key>.", _ASK_FOR_KEY)
        return label

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes | None:
        """The body of a request; None where its client has left before its end."""
        told = headers.get(b"content-length", b"")
        if told.isdigit() and int(told[:20]) > self._settings.body_bytes:
            raise self._too_long()
        try:
            return await asyncio.wait_for(self._received(receive), self._settings.timeout)
        except asyncio.TimeoutError:
            seconds = f"{self._settings.timeout:g} s"
            raise HTTPException(408, f"The request had not come after {seconds}. Send it again.", _CLOSE) from None

    async def _received(self, receive: Receive) -> bytes | None:
        parts, length, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > self._settings.body_bytes:
                raise self._too_long()
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"The body is longer than {self._settings.body_bytes} bytes. Send less at once.")


_CLOSED = (
    f"This server asks for no key, so it answers its own machine alone. Set {names.ENV_API_KEYS}, or say that "
    f"everybody may call: {names.ENV_SERVER}OPEN_TO_ALL=true."
)
_ASK_FOR_KEY = {"WWW-Authenticate": "Bearer"}
_CLOSE = {"Connection": "close"}


def _id_of(headers: Mapping[bytes, bytes]) -> str:
    told = headers.get(b"x-request-id", b"")
    return told.decode() if _SANE_ID.fullmatch(told) else uuid.uuid4().hex


def _told(body: bytes) -> Receive:
    """Tells a body that is there."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


class _Answer:
    """What is sent to a client.

    Attributes:
        request: What it answers.
        is_whole: Whether all of it is sent.
        is_closed: Whether the app's parts are sent no more: what is cancelled may yet answer that it was.
        is_stuck: Whether the client has not taken the last part yet.
        progress: When a part was sent last.
    """

    def __init__(self, send: Send, request: Request) -> None:
        self.request, self.is_whole, self.is_closed, self.is_stuck = request, False, False, False
        self.progress = asyncio.get_running_loop().time()
        self._send, self._has_begun, self._streams = send, False, False

    async def send(self, message: Message) -> None:
        """Send a part, with the request's id in its head."""
        if self.is_closed:
            return
        if message["type"] == "http.response.start":
            self._has_begun, self.request.status = True, message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.request.request_id.encode())]
            self._streams = (b"content-type", sse.MEDIA_TYPE) in headers
            message = {**message, "headers": headers}
        else:
            self.request.sent += len(message.get("body", b""))
        self.is_stuck = True
        await self._send(message)
        self.is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        self.is_stuck, self.progress = False, asyncio.get_running_loop().time()

    async def fail(self, error: Exception, scope: Scope, receive: Receive) -> None:
        """Tell what the request ended in, if that can still be told."""
        failure = failure_of(error)
        log_fault(error, self.request.request_id, failure)
        if not self._has_begun:
            await failure.response(scope["path"])(scope, receive, self.send)

    async def end_late(self, scope: Scope, receive: Receive, seconds: float) -> None:
        """End an answer that has not come in time; a stream ends with an event that says so."""
        self.is_closed = False
        error = HTTPException(504, f"There was no answer within {seconds:g} s. Ask for less, or come back later.")
        if self._streams and not self.is_whole and not self.is_stuck:
            await self.send({"type": "http.response.body", "body": sse.failed(error, scope["path"])})
        await self.fail(error, scope, receive)


class _Patience:
    """Waits for an answer as long as its client waits, and no longer than it may take.

    Attributes:
        ended_by: What has ended it before its end, if something has.
    """

    def __init__(self, answer: _Answer, seconds: float) -> None:
        self.ended_by: str | None = None
        self._answer, self._seconds = answer, seconds
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()

    async def wait_for(self, answering, receive: Receive) -> None:
        """Await what answers, and cancel it when the client leaves or no part of the answer was sent for too long."""
        self._timer = self._loop.call_later(self._seconds, self._look)
        watching = self._loop.create_task(self._watch(receive))
        try:
            ending = await Ending.awaited(answering)
        finally:
            watching.cancel()
            self._timer.cancel()
        if self.ended_by is None:
            ending.result()
        elif hasattr(self._task, "uncancel"):  # Python 3.11
            self._task.uncancel()

    def _look(self) -> None:
        left = self._answer.progress + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._end(_LATE)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._end(_LEFT)

    def _end(self, why: str) -> None:
        # A client that has all that it asked for may leave.
        if self.ended_by is None and not self._answer.is_whole:
            self.ended_by, self._answer.is_closed = why, True
            self._task.cancel()

"""What is known of one request while it is answered, and who is told when it begins and when it has ended."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.metering import METERS, Meter, Stopwatch
from mlflow_dspy_plugin.seams import handed_down


@dataclass
class Request:
    """A request. The gate makes and ends it, and the endpoints fill in what they come to know.

    Attributes:
        request_id: The client's own, or one that was made.
        method: Of HTTP.
        headers: As ASGI has them: pairs of bytes, names in lower case.
        path: The template of the path, as `/models/{name}/invocations`; empty where there is no such path.
        model: The name that the model is served under.
        version: Its version in the registry, or its id.
        key: What tells the client's key from others, and is not the key.
        status: Of the answer; None where the client has left before there was one.
        received: Bytes of the body.
        sent: Bytes of the answer.
        queue_seconds: How long it has waited for its turn.
        seconds: How long all of it took, once it has ended.
        meter: Counts what its language models are asked for: tokens and cost.
        trace_id: The trace that it was answered in, if any.
        user: Who has asked, if that was said.
        session: Of which conversation it is a part, if that was said.
        began: When, by the clock of the wall.
    """

    request_id: str
    method: str = ""
    headers: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    path: str = ""
    model: str | None = None
    version: str | None = None
    key: str | None = None
    status: int | None = None
    received: int = 0
    sent: int = 0
    queue_seconds: float = 0.0
    seconds: float = 0.0
    meter: Meter = field(default_factory=Meter, repr=False)
    trace_id: str | None = None
    user: str | None = None
    session: str | None = None
    began: float = field(default_factory=time.time)


class Observer(Protocol):
    """Is told of each request, in the task that answers it: what it sets in the context holds for the program."""

    def begin(self, request: Request) -> None:
        """A request has come; nothing of it was read but its headers."""

    def end(self, request: Request) -> None:
        """It has ended, however that was."""


_current: ContextVar[Request | None] = ContextVar("mlflow_dspy_plugin_request", default=None)


def current_request() -> Request:
    """The request that is being answered; a blank one where there is none, so that all may fill it in."""
    return _current.get() or Request("")


@contextlib.contextmanager
def observed(request: Request, observers: Sequence[Observer]) -> Iterator[None]:
    """A block in which a request is the current one; its beginning and its end are told."""
    watch, token = Stopwatch(), _current.set(request)
    handed = handed_down.hand_down(**{METERS: (*(handed_down.inherited(METERS) or ()), request.meter)})
    for observer in observers:
        _tell(observer.begin, request)
    try:
        yield
    finally:
        request.seconds = watch.seconds
        for observer in reversed(observers):
            _tell(observer.end, request)
        handed_down.take_back(handed)
        _current.reset(token)


@never_raises
def _tell(told: Callable[[Request], None], request: Request) -> None:
    told(request)

"""What a request's headers say of its trace: whose it is, to which conversation it belongs, and what it is a part of.

A `traceparent` whose caller records has the request's spans become part of that trace, where MLflow can do so (from
3.9 or so on). Else the trace is one of its own that says what it belongs to: nobody would find spans below one that is
stored nowhere.
"""

import contextlib
import functools
import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar

from mlflow.entities import LiveSpan

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.seams import handed_down, remote_traces, spans
from mlflow_dspy_plugin.seams.trace_context import SESSION, USER
from mlflow_dspy_plugin.server.observing import Request
from mlflow_dspy_plugin.tracing.calls import BEGUN

# The first of these headers that is there.
_SESSION_HEADERS = (b"x-mlflow-session-id", b"x-session-id")
_USER_HEADERS = (b"x-mlflow-user-id", b"x-user-id")
_TRACEPARENT = b"traceparent"
# As much as MLflow stores of it.
_LONGEST = 250
# Where MLflow's store looks for both in spans whose trace another process tells of.
_OF_SPANS: Mapping[str, str] = {SESSION: "session.id", USER: "user.id"}

_held: ContextVar[contextlib.ExitStack | None] = ContextVar("mlflow_dspy_plugin_trace_headers", default=None)


class TraceHeaders:
    """Gives the trace of each request what its headers say, as an observer of them."""

    def begin(self, request: Request) -> None:
        """Read the headers; from now on they hold."""
        headers = dict(request.headers)
        request.session, request.user = _first(headers, _SESSION_HEADERS), _first(headers, _USER_HEADERS)
        traceparent = _text(headers.get(_TRACEPARENT, b""))
        parent = remote_traces.parent_of(traceparent) if traceparent else None
        held = contextlib.ExitStack()
        continues = parent is not None and parent.trace_flags.sampled and remote_traces.CAN_CONTINUE
        if continues:
            held.enter_context(remote_traces.continued(parent))
        told = {} if parent is None or continues else {names.TRACE_TRACEPARENT: traceparent}
        handed = handed_down.hand_down(**{BEGUN: (functools.partial(_begun, request, told, continues),)})
        held.callback(handed_down.take_back, handed)
        _held.set(held)

    def end(self, request: Request) -> None:
        """What the headers say holds no more."""
        if (held := _held.get()) is not None:
            _held.set(None)
            held.close()


def _begun(request: Request, told: Mapping[str, str], continues: bool, span: LiveSpan) -> None:
    """Tell of a trace that begins, by its first span; of several the request names the first."""
    request.trace_id = request.trace_id or span.trace_id
    known = {
        **told,
        SESSION: request.session,
        USER: request.user,
        names.TRACE_REQUEST_ID: request.request_id,
        names.TRACE_SERVED_MODEL: request.model,
        names.TRACE_SERVED_VERSION: request.version,
    }
    metadata = {name: value for name, value in known.items() if value}
    if continues:
        # Its metadata are told by who has begun it.
        spans.set_attributes(span, {_OF_SPANS.get(name, name): json.dumps(value) for name, value in metadata.items()})
    else:
        spans.describe_trace(span, metadata)


def _first(headers: Mapping[bytes, bytes], wanted: Sequence[bytes]) -> str | None:
    return next((text for name in wanted if (text := _text(headers.get(name, b"")))), None)


def _text(value: bytes) -> str:
    """A header as text; nothing of one that is none."""
    text = value.decode("utf-8", "replace").strip()
    return text[:_LONGEST] if text.isprintable() else ""

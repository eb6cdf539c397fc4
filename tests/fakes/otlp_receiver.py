"""A receiver of OTLP/HTTP on loopback, as an OpenTelemetry collector is one."""

from __future__ import annotations

import gzip
import os
import threading
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

__all__ = ["OtlpReceiver", "ReceivedSpan", "needs_exporter"]

try:
    import opentelemetry.exporter.otlp.proto.http  # noqa: F401
except ModuleNotFoundError:
    _HAS_EXPORTER = False
else:
    _HAS_EXPORTER = True
# Where all has to be there, a test that finds it missing fails.
needs_exporter = pytest.mark.skipif(
    not _HAS_EXPORTER and os.environ.get("CI") != "true",
    reason="MLflow sends traces to OpenTelemetry by a package: pip install opentelemetry-exporter-otlp-proto-http",
)

_DECODERS = {"gzip": gzip.decompress, "deflate": zlib.decompress, "identity": bytes}


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it came over the wire.

    Attributes:
        attributes: The Python values of what was sent as int_value, double_value, string_value and so on.
        types: Which of these each was sent as; of an array, `[` and those of its items.
    """

    name: str
    kind: str
    scope: str
    trace_id: str
    span_id: str
    parent_id: str
    status: str
    attributes: dict[str, Any] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    events: tuple[str, ...] = ()

    def gen_ai(self) -> dict[str, Any]:
        """The attributes of the conventions for generative AI."""
        return {key: value for key, value in self.attributes.items() if key.startswith(("gen_ai.", "error."))}


class OtlpReceiver:
    """Take spans; as a context manager, in a thread of its own.

    Attributes:
        bodies: The requests as they came, decompressed.
        headers: Their HTTP headers.
        failing: Whether it answers 503; may be set while it receives.
    """

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.failing = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        """What goes into OTEL_EXPORTER_OTLP_TRACES_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that send MLflow's traces here."""
        return {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        }

    @property
    def spans(self) -> list[ReceivedSpan]:
        """The spans that have come, by the time at which they began."""
        found = [
            (span.start_time_unix_nano, _received(span, scoped.scope.name))
            for body in list(self.bodies)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scoped in resource.scope_spans
            for span in scoped.spans
        ]
        return [span for _, span in sorted(found, key=lambda each: each[0])]

    def __enter__(self) -> OtlpReceiver:
        self._thread = threading.Thread(target=self._server.serve_forever, name="otlp-receiver", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if not receiver.failing:
                    receiver.bodies.append(_DECODERS[self.headers.get("content-encoding", "identity")](body))
                    receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(503 if receiver.failing else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing on standard error."""

        return Handler


def _received(span: trace_pb2.Span, scope: str) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        scope=scope,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        attributes={each.key: _value(each.value) for each in span.attributes},
        types={each.key: _type(each) for each in span.attributes},
        events=tuple(event.name for event in span.events),
    )


def _value(sent: AnyValue) -> Any:
    kind = sent.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in sent.array_value.values]
    if kind == "kvlist_value":
        return {each.key: _value(each.value) for each in sent.kvlist_value.values}
    return getattr(sent, kind) if kind is not None else None


def _type(sent: KeyValue) -> str:
    kind = sent.value.WhichOneof("value") or "none"
    if kind != "array_value":
        return kind.removesuffix("_value")
    items = {each.WhichOneof("value").removesuffix("_value") for each in sent.value.array_value.values}
    return f"[{' '.join(sorted(items))}]"

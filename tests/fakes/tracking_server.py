"""A tracking server in this process that takes traces and runs over HTTP, and refuses as it is told to."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mlflow
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes import runs

START = "/api/3.0/mlflow/traces"
SPANS = "/v1/traces"
EXPERIMENTS = "/api/2.0/mlflow/experiments/"


class TrackingServer:
    """What the server was sent, and how it answers.

    Attributes:
        started: How often each trace was started, by its id.
        places: The experiment of each trace that was started.
        experiments: The ids of experiments by their names.
        runs: The runs that were made.
        spans: How many spans of each trace it was sent, by the trace's id.
        asked: How often each path was asked for.
        refuse: The status with which a path, and a trace id where there is one, is refused; None accepts.
        lose: The status with which a path is answered once it is done, as if the answer was lost; None answers well.
        answering: Cleared, it takes requests and says nothing.
        uri: Its tracking URI.
    """

    def __init__(self, artifacts: str) -> None:
        self.artifacts = artifacts
        self.started: Counter[str] = Counter()
        self.places: dict[str, str] = {}
        self.experiments: dict[str, str] = {}
        self.spans: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.refuse: Callable[[str, str | None], int | None] = lambda path, trace_id: None
        self.lose: Callable[[str], int | None] = lambda path: None
        self.runs = runs.Runs(artifacts)
        self.answering = threading.Event()
        self.answering.set()
        self.uri = ""

    def answer(self, url: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body for a request."""
        path, query = urlsplit(url).path, urlsplit(url).query
        self.asked[path] += 1
        self.answering.wait()
        given = json.loads(body) if path == START else {}
        trace_id = given["trace"]["trace_info"]["trace_id"] if given else None
        if status := self.refuse(path, trace_id):
            return status, f"refused with {status}".encode()
        if path.startswith(runs.BASE):
            status, answer = self.runs.answer(path, query, body)
            return self.lose(path) or status, json.dumps(answer).encode()
        if path.startswith(EXPERIMENTS):
            status, answer = self._experiment(path.removeprefix(EXPERIMENTS), query, body)
            return status, json.dumps(answer).encode()
        if path == START:
            self.started[trace_id] += 1
            place = given["trace"]["trace_info"]["trace_location"]
            self.places[trace_id] = place["mlflow_experiment"]["experiment_id"]
            tags = {"mlflow.trace.spansLocation": "TRACKING_STORE", "mlflow.artifactLocation": self.artifacts}
            given["trace"]["trace_info"].setdefault("tags", {}).update(tags)
            return 200, json.dumps(given).encode()
        if path == SPANS:
            self.spans += Counter(spans_in(body))
        return 200, mlflow.__version__.encode() if path == "/version" else b""

    def _experiment(self, asked: str, query: str, body: bytes) -> tuple[int, dict]:
        if asked == "create":
            experiment_id = self.experiments.setdefault(json.loads(body)["name"], str(len(self.experiments) + 1))
            return 200, {"experiment_id": experiment_id}
        [name] = parse_qs(query)["experiment_name"]
        if name not in self.experiments:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"There is no experiment {name}"}
        return 200, {"experiment": {"experiment_id": self.experiments[name], "name": name}}


def spans_in(body: bytes) -> Iterator[str]:
    """The trace id of each span in a request."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield f"tr-{span.trace_id.hex()}"


@contextmanager
def tracking_server(artifacts: Path, port: int = 0) -> Iterator[TrackingServer]:
    """Serve on a port of the loopback interface as long as the block lasts; clients put files into a folder."""
    server = TrackingServer(artifacts.as_uri())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = server.answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    http.daemon_threads = True
    server.uri = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.answering.set()
        http.shutdown()
        http.server_close()
        thread.join()

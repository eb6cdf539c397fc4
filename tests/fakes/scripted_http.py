"""An HTTP server on loopback that answers with what a test has written down, request for request."""

import json
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        body: What is sent as JSON; bytes are sent as they are, other iterables chunk by chunk, as they come.
        status: Its status.
        headers: Its headers.
        whole: Whether chunks end as they should; else the connection is cut.
        after: What it waits for.
    """

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    after: threading.Event | None = None


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class ScriptedServer:
    """What is asked, and what will be answered.

    Attributes:
        answers: The answers to come; the last one is given again and again.
        asked: The requests until now.
        hung_up: Set once a client has gone away while it was sent chunks.
        url: Its address.
    """

    def __init__(self, answers: Iterable[Answer]) -> None:
        self.answers = deque(answers)
        self.asked: list[Asked] = []
        self.hung_up = threading.Event()
        self.url = ""

    def next_answer(self) -> Answer:
        """The answer to the request that has just come."""
        return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]


@contextmanager
def scripted_server(*answers: Answer) -> Iterator[ScriptedServer]:
    """Serve these answers as long as the block lasts."""
    server = ScriptedServer(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.asked.append(Asked(self.command, self.path, headers, body))
            answer = server.next_answer()
            if answer.after is not None:
                answer.after.wait()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if isinstance(answer.body, (bytes, dict, list)):
                self.send_whole(answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode())
            else:
                self.send_chunks(answer)

        do_POST = do_GET

        def send_whole(self, body: bytes) -> None:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_chunks(self, answer: Answer) -> None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for chunk in answer.body:
                    self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                    self.wfile.flush()
                if answer.whole:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                server.hung_up.set()
            self.close_connection = not answer.whole

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        server.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()

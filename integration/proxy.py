"""A way to a server that can be slow, refuse, or lead nowhere, as it is told."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_DROPPED = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Proxy:
    """What becomes of the requests.

    Attributes:
        uri: Where it listens.
        delay: How long each request waits, in seconds.
        refuse: The status with which it is refused; None lets it through.
        down: Whether connections are cut off without an answer.
        answered: How many requests the server has answered, but for whether it is there.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.delay, self.refuse, self.down, self.answered = 0.0, None, False, 0
        self.over = threading.Event()
        self._lock = threading.Lock()

    def count(self, path: str) -> None:
        """Note an answer of the server."""
        with self._lock:
            self.answered += path != "/health"


@contextmanager
def proxy_to(target: str, port: int = 0) -> Iterator[Proxy]:
    """Serve on a port of the loopback interface as long as the block lasts."""
    host = target.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.over.wait(proxy.delay)
            if proxy.down:
                self.close_connection = True
            elif proxy.refuse:
                self.answer(proxy.refuse, [], b"refused")
            else:
                self.answer(*self.forward(body))
                proxy.count(self.path)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(host, timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                return response.status, response.getheaders(), response.read()
            finally:
                connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in _DROPPED:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            # Whoever asked may have been killed.
            with contextlib.suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.over.set()
        server.shutdown()
        server.server_close()
        thread.join()

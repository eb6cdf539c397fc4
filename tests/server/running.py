"""A server on loopback, in a thread of the test: real sockets, real streams, clients that really leave."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from mlflow_dspy_plugin.server.app import create_app
from mlflow_dspy_plugin.server.settings import ServerSettings

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Running:
    """A server that runs.

    Attributes:
        app: Its app.
        port: Where it listens.
        client: Asks it.
    """

    app: FastAPI
    port: int
    client: httpx.Client

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    @property
    def running(self) -> int:
        """How many requests are answered now."""
        return self.app.state.server.admission.running

    @property
    def queued(self) -> int:
        """How many wait for their turn."""
        return self.app.state.server.admission.queued

    def ask(self, body, path="/invocations", **options) -> httpx.Response:
        """Send a body as JSON."""
        return self.client.post(path, json=body, **options)

    def connect(self) -> socket.socket:
        """A connection to send it anything."""
        return socket.create_connection((HOST, self.port), timeout=20)


@contextlib.contextmanager
def running(models, observers=(), **options) -> Iterator[Running]:
    """A server of models, a folder each by its name; of its other settings what is given."""
    models = models if isinstance(models, dict) else {"qa": str(models)}
    app = create_app(ServerSettings(models, **{"tracing": False, **options}), observers)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    with socket.create_server((HOST, 0), backlog=1024) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        try:
            # Connections wait until it takes them, and until its models are loaded.
            with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=20) as client:
                client.get("/ping")
                yield Running(app, port, client)
        finally:
            server.should_exit = True
            thread.join(20)
    assert not thread.is_alive()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, which it is in a moment; twenty seconds are a failure."""
    for _ in range(2000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def events(response: httpx.Response) -> list[str]:
    """The data of the events of a stream."""
    return [line.removeprefix("data: ") for line in response.read().decode().split("\n\n") if line]


def objects(response: httpx.Response) -> list[dict]:
    """What the events of one of OpenAI's streams are."""
    *told, last = events(response)
    assert last == "[DONE]"
    return [json.loads(each) for each in told]

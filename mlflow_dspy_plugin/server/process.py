"""The process of a server: how it begins, and how it ends without leaving anybody unanswered."""

import contextlib
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import DeploymentError, SettingError
from mlflow_dspy_plugin.server.app import create_app
from mlflow_dspy_plugin.server.connections import Connection
from mlflow_dspy_plugin.server.memory import settle_memory
from mlflow_dspy_plugin.server.reach import check_reach
from mlflow_dspy_plugin.server.settings import ServerSettings

# Longer than what stands between clients and a server (60 seconds in most) keeps a connection: one that the server
# closes first may just be taking a request.
_IDLE_SECONDS = 75
_THREADS_SECONDS = 3
# What anyio calls the threads that programs run in; idle ones end with the event loop.
_WORKER = "AnyIO worker thread"
_ENDING = (signal.SIGTERM, signal.SIGINT)


def serve(settings: ServerSettings) -> None:
    """Serve until a signal says to end (SIGTERM, Ctrl-C), and answer first who waits by then.

    Raises:
        SettingError: If others could reach it without a key, or somebody else has the port.
        DeploymentError: If it could not begin; its log says why.
    """
    check_reach(settings)
    _check_free(settings.host, settings.port)
    server = _Server(_config_of(settings))
    try:
        # uvicorn exits where the app cannot begin.
        with _ending_well(), contextlib.suppress(SystemExit):
            server.run()
        server.has_ended = server.started
    finally:
        if not server.has_ended:
            server.patience.cancel()
    if not server.started:
        raise DeploymentError("The server could not begin. What it has logged says why.")


class _Server(uvicorn.Server):
    """A server that does not wait at its end for threads in which programs hang: nobody waits for their answers.

    Attributes:
        has_ended: Whether its event loop has ended well.
        patience: Ends the process some time after all else has ended, where threads hang that Python would wait for.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_ended = False
        self.patience = threading.Timer(_THREADS_SECONDS, self._end_hanging)
        self.patience.daemon = True

    def _end_hanging(self) -> None:
        if not self.has_ended or any(thread.name == _WORKER for thread in threading.enumerate()):
            os._exit(0)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """End; at once, if models are still being loaded: there is nothing to lose, and that may take minutes."""
        if not self.started:
            os._exit(128 + sig)
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin: load the models, and then listen."""
        await super().startup(sockets)
        settle_memory()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what waits for requests, and those who are under way; the event loop waits for its threads then."""
        await super().shutdown(sockets)
        self.patience.start()


def _config_of(settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        # The gate writes one of its own.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.drain),
    )


def _check_free(host: str, port: int) -> None:
    """Find out before the models are loaded, which takes long, whether the server can listen.

    Raises:
        SettingError: If it cannot.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        raise SettingError(
            f"The server cannot listen at {host}, port {port} ({error.strerror or error}). Give another: -C port=..., "
            f"or {names.ENV_SERVER}PORT."
        ) from None


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    """A block that such a signal ends and does not kill.

    uvicorn sends itself the signal again once it has ended, for whoever else waits for it; that would be the status of
    a process that was killed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Connections that never say what they want are closed, and no others: over real sockets, to uvicorn in a thread."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from mlflow_dspy_plugin.server.connections import Connection

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
SECONDS = 0.05
# Several looks of the timer.
LONG = 8 * SECONDS


class Hasty(Connection):
    seconds = SECONDS


async def app(scope, receive, send) -> None:
    """Take a whole body, and much longer than the timer for the answer."""
    while (await receive())["more_body"]:
        pass
    await asyncio.sleep(LONG)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=Hasty, lifespan="off", log_level="error"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def connection(port) -> Iterator[socket.socket]:
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        yield connection


def answer(connection: socket.socket) -> bytes:
    """What comes until the body that the app sends, or the end."""
    got = b""
    while not got.endswith(b"ok") and (part := connection.recv(1000)):
        got += part
    return got


@pytest.mark.parametrize("said", [b"", b"POST / HTTP/1.1\r\nHost: "], ids=["nothing", "half a head"])
def test_a_connection_that_does_not_say_what_it_wants_is_closed(connection, said):
    connection.sendall(said)
    assert answer(connection) == b""


def test_a_byte_now_and_then_keeps_no_connection_open(connection):
    connection.sendall(b"POST / HTTP/1.1\r\nHost: ")
    stop = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(SECONDS / 4):
                connection.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    with contextlib.suppress(ConnectionResetError):
        assert answer(connection) == b""
    stop.set()
    dripping.join()


def test_a_request_takes_as_long_as_it_takes(connection):
    connection.sendall(HEAD + b"{")
    threading.Event().wait(LONG)
    connection.sendall(b"}")
    assert answer(connection).endswith(b"ok")


def test_a_connection_may_rest_between_requests_but_not_with_half_a_head_of_the_next(connection):
    for _ in range(2):
        connection.sendall(HEAD + b"{}")
        assert answer(connection).endswith(b"ok")
        threading.Event().wait(LONG)
    connection.sendall(HEAD[:10])
    assert answer(connection) == b""

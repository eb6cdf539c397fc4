"""A server of OpenAI's protocol on loopback, in a thread of a test or as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from typing import NamedTuple

from tests.fakes import chat, other_apis, wire
from tests.fakes.chat import Fault, Model, Reply, ToolCalls
from tests.fakes.completion import Usage

__all__ = ["BUILT_IN", "Fault", "Model", "OpenAIServer", "Recorded", "Reply", "ToolCalls", "Usage", "echo"]

HOST = "127.0.0.1"
BACKLOG = 1024
_reader: ContextVar[asyncio.StreamReader] = ContextVar("reader")


def echo(messages: chat.Messages, body: chat.Body) -> str:
    """Answer with the text of the last message."""
    content = messages[-1].get("content")
    return content if isinstance(content, str) else str(content)


def in_context_classifier(seed: int = 0) -> Model:
    """Make the quickstart's classifier, which learns from the examples in its prompt."""
    # Only who asks for this model needs the package: the server alone runs on the standard library.
    from mlflow_dspy_plugin.quickstart.classifier import InContextClassifier

    classifier = InContextClassifier(seed)
    return lambda messages, body: classifier.complete(messages, body.get("temperature"))


BUILT_IN: dict[str, Callable[[], Model]] = {
    "echo": lambda: echo,
    "in-context-classifier": in_context_classifier,
}


class Recorded(NamedTuple):
    """A chat completion request as it arrived; header names are in lower case."""

    headers: dict[str, str]
    body: chat.Body


class OpenAIServer:
    """Serve models over HTTP; as a context manager, from a thread with its own event loop.

    Args:
        models: Models by the name clients ask for; `echo` is there in any case.
        latency: Seconds before an answer; may be set while serving.
        chunk_latency: Seconds between the chunks of a stream; may be set while serving.
        port: The port on 127.0.0.1; 0 takes a free one.
        keep: How many requests `requests` remembers.

    Attributes:
        request_count: How many chat completions were asked for, failed ones included.
        requests: The last of them.
        at_once: How many of them are under way.
        most_at_once: How many were at the same time, at most; may be set while serving.
        connection_count: How many connections were opened.
        streaming: How many streams are being sent now.
    """

    def __init__(
        self,
        models: Mapping[str, Model] | None = None,
        *,
        latency: float = 0.0,
        chunk_latency: float = 0.0,
        port: int = 0,
        keep: int = 1000,
    ) -> None:
        self.models: dict[str, Model] = {"echo": echo, **(models or {})}
        self.latency = latency
        self.chunk_latency = chunk_latency
        self.request_count = 0
        self.connection_count = self.streaming = 0
        self.at_once = self.most_at_once = 0
        self.requests: deque[Recorded] = deque(maxlen=keep)
        self._port = port
        self._routes = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/chat/completions"): self._chat,
            ("POST", "/v1/completions"): functools.partial(self._other, other_apis.TEXT),
            ("POST", "/v1/responses"): functools.partial(self._other, other_apis.RESPONSES),
            ("GET", "/v1/models"): self._list_models,
            ("GET", "/models"): self._list_models,
        }

    @property
    def base_url(self) -> str:
        """The `api_base` for clients."""
        return f"http://{HOST}:{self._socket.getsockname()[1]}/v1"

    def __enter__(self) -> OpenAIServer:
        self.listen()
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name="openai-server", daemon=True)
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()

    def listen(self) -> None:
        """Bind the port; clients that connect wait until `serve` takes them."""
        self._socket = socket.create_server((HOST, self._port), backlog=BACKLOG)
        self._started = threading.Event()

    async def serve(self) -> None:
        """Answer until `stop` is called."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._started.set()
        server = await asyncio.start_server(self._connection, sock=self._socket, backlog=BACKLOG)
        await self._stopping.wait()
        server.close()

    def stop(self) -> None:
        """Stop serving, from any thread; answers under way are dropped."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        _reader.set(reader)
        # A client that hangs up, at whatever moment, ends its own connection and nothing else.
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read and answer one request; return whether the connection may carry another."""
        try:
            request = await wire.read_request(reader)
        except wire.Malformed as error:
            writer.write(error_response(Fault(400, str(error)), [("Connection", "close")]))
            return False
        if request is None:
            return False
        whole = await self._routes.get((request.method, request.path), unknown_url)(request, writer)
        await writer.drain()
        return whole and request.headers.get("connection", "").lower() != "close"

    async def _list_models(self, request: wire.Request, writer: asyncio.StreamWriter) -> bool:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tests"} for name in self.models]
        writer.write(wire.json_response(200, chat.dump({"object": "list", "data": models})))
        return True

    async def _chat(self, request: wire.Request, writer: asyncio.StreamWriter) -> bool:
        number, body, whole = self._next_number(), {}, True
        try:
            body = chat.parse_body(request.body)
            self.requests.append(Recorded(request.headers, body))
            parts, whole = self._answer(body, number)
        except Fault as fault:
            key = request.headers.get("authorization", "").removeprefix("Bearer ")
            parts = [error_response(fault, key=key, model=body.get("model", ""))]
        with self._under_way():
            await passing(self.latency)
            await self._send(writer, parts)
        return whole

    async def _other(self, api: other_apis.Api, request: wire.Request, writer: asyncio.StreamWriter) -> bool:
        """Answer a request of another API than chat; not as a stream."""
        body: chat.Body = {}
        try:
            body = chat.parse_body(chat.dump(api.as_chat(json.loads(request.body))))
            self.requests.append(Recorded(request.headers, body))
            completion = chat.completion(body, chat.ask(self._model(body), body), self._next_number())
            part = wire.json_response(200, other_apis.whole_answer(api, completion))
        except Fault as fault:
            part = error_response(fault, model=body.get("model", ""))
        await asyncio.sleep(self.latency)
        writer.write(part)
        return True

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            self.at_once -= 1

    def _next_number(self) -> int:
        self.request_count += 1
        return self.request_count

    def _answer(self, body: chat.Body, number: int) -> tuple[list[bytes], bool]:
        """Return the response in the parts it is sent in, and whether it is whole."""
        try:
            replies = chat.ask(self._model(body), body)
            parts = response_parts(body, replies, number)
        except Fault:
            raise
        except Exception as error:
            # A scripted model's own bug is a server error told to the client: the test that asked sees it.
            raise Fault(500, f"The model failed: {error!r}") from error
        if any(reply.cut for reply in replies):
            return parts[: len(parts) // 2] or [parts[0][: len(parts[0]) * 3 // 4]], False
        if len(parts) > 1 and any(reply.ends_early for reply in replies):
            return [*parts[: len(parts) // 2], wire.END_OF_CHUNKS], True
        return parts, True

    def _model(self, body: chat.Body) -> Model:
        if body["model"] not in self.models:
            raise Fault(404)
        return self.models[body["model"]]

    async def _send(self, writer: asyncio.StreamWriter, parts: list[bytes]) -> None:
        self.streaming += len(parts) > 1
        try:
            for index, part in enumerate(parts):
                if index and self.chunk_latency:
                    await writer.drain()
                    await passing(self.chunk_latency)
                writer.write(part)
        finally:
            self.streaming -= len(parts) > 1


async def passing(seconds: float) -> None:
    """Let time pass, as long as the client is there.

    Raises:
        ConnectionResetError: Once it has hung up.
    """
    with suppress(asyncio.TimeoutError):
        # It sends nothing before it has its answer.
        if seconds and not await asyncio.wait_for(_reader.get().read(1), seconds):
            raise ConnectionResetError


def response_parts(body: chat.Body, replies: list[Reply], number: int) -> list[bytes]:
    """Return the whole response as one part, or a stream as one part per event."""
    if not body.get("stream"):
        return [wire.json_response(200, chat.completion(body, replies, number))]
    first, *events = map(wire.event_bytes, chat.chunks(body, replies, number))
    return [wire.event_stream_head() + first, *events, wire.event_bytes(b"[DONE]") + wire.END_OF_CHUNKS]


async def unknown_url(request: wire.Request, writer: asyncio.StreamWriter) -> bool:
    """Answer 404, to HEAD without a body."""
    response = error_response(Fault(404, f"Invalid URL ({request.method} {request.path})"))
    writer.write(response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else response)
    return True


def error_response(fault: Fault, headers: Iterable[tuple[str, object]] = (), **caller: str) -> bytes:
    """Write a fault as a whole response."""
    retry = [] if fault.retry_after is None else [("Retry-After", fault.retry_after)]
    return wire.json_response(fault.status, fault.body(**caller), [*headers, *retry])


async def run(server: OpenAIServer) -> None:
    """Say where the server listens and serve until SIGTERM or SIGINT."""
    server.listen()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    print(server.base_url, flush=True)
    await server.serve()


def main(arguments: list[str] | None = None) -> None:
    """Serve built-in models as a process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.openai_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before an answer")
    parser.add_argument("--chunk-latency", type=float, default=0.0, help="seconds between the chunks of a stream")
    parser.add_argument(
        "--model", action="append", default=[], choices=BUILT_IN, help="repeatable; echo is always there"
    )
    given = vars(parser.parse_args(arguments))
    models = {name: BUILT_IN[name]() for name in given.pop("model")}
    asyncio.run(run(OpenAIServer(models, **given)))


if __name__ == "__main__":
    main()

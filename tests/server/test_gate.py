"""What every request passes: its length, its time, its client, its place among others."""

import asyncio
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from mlflow_dspy_plugin.server import bodies
from mlflow_dspy_plugin.server.app import create_app
from mlflow_dspy_plugin.server.settings import ServerSettings
from tests.server import programs
from tests.server.conftest import ANSWER
from tests.server.running import HOST, events, running, wait_until

ASK = {"inputs": {"question": "What bear?"}}
CHAT = {"messages": [{"role": "user", "content": "What bear?"}], "stream": True}
PATHS = {"/invocations": {**ASK, "stream": True}, "/v1/chat/completions": CHAT, "/v1/responses": {"input": "What bear?", "stream": True}}  # fmt: skip


def head(path: str = "/invocations", **headers: object) -> bytes:
    told = {"Host": HOST, "Content-Type": "application/json", **{name.replace("_", "-"): str(value) for name, value in headers.items()}}  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode()


def status_of(connection: socket.socket) -> int:
    """The status of the answer, as soon as its first line is there."""
    received = b""
    while b"\r\n" not in received:
        received += connection.recv(4096) or pytest.fail("the connection was closed")
    return int(received.split()[1])


def raw(server, *parts: bytes) -> int:
    """The status of the answer to a request that is sent part by part."""
    with server.connect() as connection:
        for part in parts:
            connection.sendall(part)
        return status_of(connection)


# -- its name ---------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["req-1", "A.b_c:d-" + "9" * 120])
def test_a_request_keeps_the_id_that_its_client_gave_it(given, shared):
    _, server = shared
    responses = [
        server.ask(ASK, headers={"X-Request-Id": given}),
        server.ask(PATHS["/invocations"], headers={"X-Request-Id": given}),
        server.client.get("/nothing", headers={"X-Request-Id": given}),
    ]
    assert [response.headers["x-request-id"] for response in responses] == [given] * 3


@pytest.mark.parametrize("given", ["", "a b", "é", '"', "9" * 129, "a\tb", None])
def test_a_request_without_a_sane_id_gets_one(given, shared):
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    ids = [shared[1].client.get("/ping", headers=headers).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert ids[0] != ids[1]


# -- its length -------------------------------------------------------------------------------


def test_a_body_that_is_too_long_is_refused_by_its_length_before_it_is_sent(qa, lm):
    with running(qa, body_bytes=1000) as server:
        assert raw(server, head(Content_Length=1001)) == 413
        assert raw(server, head(Content_Length=10**15)) == 413
        assert server.ask(ASK).status_code == 200
    assert lm.request_count == 1


def test_a_body_that_is_too_long_is_refused_where_it_says_no_length(qa):
    with running(qa, body_bytes=1000) as server:
        chunk = b"190\r\n" + b" " * 400 + b"\r\n"
        assert raw(server, head(Transfer_Encoding="chunked"), chunk, chunk, chunk) == 413
        body = json.dumps(ASK).encode()
        whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        assert raw(server, head(Transfer_Encoding="chunked"), whole[:20], whole[20:]) == 200


def test_a_body_may_be_as_long_as_is_said(qa):
    body = json.dumps(ASK).encode()
    with running(qa, body_bytes=len(body)) as server:
        statuses = [
            server.client.post("/invocations", content=each, headers={"Content-Type": "application/json"}).status_code
            for each in (body, body + b" ")
        ]
    assert statuses == [200, 413]


@pytest.mark.parametrize("path", PATHS)
def test_a_long_body_is_read_while_others_are_answered(path, qa, monkeypatch):
    """Its reader waits until another one has been answered."""
    others, read = threading.Event(), bodies.json.JSONDecoder.decode

    def slow(decoder, text):
        if "x" * 1_000_000 in text:
            assert others.wait(20)
        return read(decoder, text)

    long = json.loads(json.dumps({**PATHS[path], "stream": False}).replace("What bear?", "x" * 1_000_000))
    monkeypatch.setattr(bodies.json.JSONDecoder, "decode", slow)
    with running(qa) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(server.ask, long, path)
        assert server.ask(ASK).json() == {"predictions": {"answer": ANSWER}}
        others.set()
        assert asked.result().status_code == 200


def test_without_keys_only_its_own_machine_is_answered_whoever_listens(qa):
    """As under `uvicorn --factory --host 0.0.0.0`, of which the app is not told."""

    async def status(address: str, **options) -> int:
        app = create_app(ServerSettings({"qa": qa}, tracing=False, access_log=False, **options))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{address}") as client:
                return (await client.get("/version")).status_code

    asked = [("10.0.0.7", {}), ("127.0.0.1", {}), ("[::1]", {}), ("10.0.0.7", {"open_to_all": True})]
    statuses = [asyncio.run(status(address, **options)) for address, options in asked]
    assert statuses == [403, 200, 200, 200]


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:5001", 200), ("localhost", 200), ("LOCALHOST:5001", 200), ("[::1]:5001", 200), ("", 200), ("bears.example", 403), ("localhost.bears.example:5001", 403), ("10.0.0.7", 403), ("[", 403)],
)  # fmt: skip
def test_without_keys_a_page_in_a_browser_is_not_answered_by_a_name_of_its_own_for_this_machine(host, status, qa):
    with running(qa) as server:
        with server.connect() as connection:
            connection.sendall(f"GET /version HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert status_of(connection) == status
        assert server.client.get("/health", headers={"Host": host or HOST}).status_code == 200


# -- its time ---------------------------------------------------------------------------------


def test_a_body_that_does_not_come_is_not_waited_for(qa):
    with running(qa, timeout=0.3) as server:
        assert raw(server, head(Content_Length=100), b"{") == 408
        assert server.ask(ASK).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_does_not_come_in_time_is_a_timeout_and_ends_the_call_of_the_language_model(path, qa, lm):
    lm.latency = 30.0
    with running(qa, timeout=0.5) as server:
        responses = [server.ask({**PATHS[path], "stream": stream}, path) for stream in (False, True)]
        wait_until(lambda: lm.at_once == 0)
        assert server.running == 0
    for response in responses:
        told = response.json()
        assert (response.status_code, "error" in told) == (504, path.startswith("/v1/"))


def test_a_stream_may_take_longer_than_a_whole_answer_as_long_as_it_goes_on(qa, lm):
    lm.chunk_latency, words = 0.02, 80
    lm.models["bears"] = lambda messages, body: "[[ ## answer ## ]]\n" + "word " * words
    with running(qa, timeout=1.0) as server:
        *told, last = events(server.ask({**ASK, "stream": True}))
    assert last == "[DONE]"
    assert json.loads(told[-1])["prediction"] == {"answer": " ".join(["word"] * words)}


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_that_stops_for_too_long_ends_in_an_event_that_says_so(path, qa, lm):
    lm.chunk_latency = 0.02
    lm.models["bears"] = lambda messages, body: "[[ ## answer ## ]]\n" + "word " * 1000
    with running(qa, timeout=1.0) as server:
        with server.client.stream("POST", path, json=PATHS[path]) as response:
            told = response.iter_text()
            next(told)
            lm.chunk_latency = 30.0
            *_, last = "".join(told).strip().split("\n\n")
        assert (response.status_code, set(json.loads(last.removeprefix("data: ")))) == (200, {"error"})
        wait_until(lambda: server.running == 0)


def test_a_program_that_takes_cancelling_for_a_failure_is_not_waited_for_twice(save, lm):
    lm.latency = 30.0
    with running(save(programs.Deaf()), timeout=0.5) as server:
        response = server.ask(ASK)
        assert (response.status_code, response.json()["error_code"]) == (504, "DEADLINE_EXCEEDED")
        lm.latency = 0.0
        assert server.ask(ASK).json() == {"predictions": {"answer": ANSWER}}


# -- its client -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_leaves_frees_its_place_and_ends_the_call_of_the_language_model(path, qa, lm):
    lm.latency = 30.0
    with running(qa, concurrency=1) as server:
        for stream in (False, True):
            body = json.dumps({**PATHS[path], "stream": stream}).encode()
            with server.connect() as connection:
                connection.sendall(head(path, Content_Length=len(body)) + body)
                wait_until(lambda: lm.at_once == 1)
            wait_until(lambda: server.running == 0)
        lm.latency = 0.0
        assert server.ask(ASK).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_thread_that_nobody_waits_for_keeps_its_place_until_it_ends(stream, save):
    """A thread cannot be ended; so many that nobody counts would be held up, and language models paid for them."""
    programs.gate.clear()
    program = programs.Waiting()
    while programs.held.acquire(blocking=False):
        pass
    with running(save(program), concurrency=1, queue=0) as server:
        body = json.dumps({**ASK, "stream": stream}).encode()
        with server.connect() as connection:
            connection.sendall(head(Content_Length=len(body)) + body)
            wait_until(lambda: programs.held.acquire(blocking=False))
        statuses = [server.ask(ASK).status_code for _ in range(3)]
        programs.gate.set()
        wait_until(lambda: server.running == 0)
        assert (statuses, server.ask(ASK).status_code) == ([503] * 3, 200)


def test_a_client_that_leaves_while_a_thread_begins_frees_its_place(save):
    programs.gate.set()
    with running(save(programs.Waiting()), concurrency=50) as server:
        body = json.dumps({**ASK, "stream": True}).encode()
        for each in range(200):
            with server.connect() as connection:
                connection.sendall(head(Content_Length=len(body)) + body)
                time.sleep(each % 40 / 2000)
        wait_until(lambda: server.running == 0)
        assert server.ask(ASK).status_code == 200


def test_a_client_that_leaves_in_the_middle_of_a_stream_ends_the_stream_of_the_language_model(qa, lm):
    lm.chunk_latency = 0.1
    lm.models["bears"] = lambda messages, body: "[[ ## answer ## ]]\n" + "word " * 1000
    with running(qa, concurrency=1) as server:
        with server.client.stream("POST", "/v1/chat/completions", json=CHAT) as response:
            # Where nobody keeps what iterates, httpx takes its client to have left.
            told = response.iter_text()
            next(told)
            assert (lm.streaming, server.running) == (1, 1)
        wait_until(lambda: lm.streaming == 0 and server.running == 0)


def test_a_client_that_leaves_while_it_sends_or_waits_leaves_nothing_behind(qa, lm):
    body = json.dumps(ASK).encode()
    lm.latency = 30.0
    with running(qa, concurrency=1) as server:
        with server.connect() as connection:
            connection.sendall(head(Content_Length=100) + b"{")
        with server.connect() as first:
            first.sendall(head(Content_Length=len(body)) + body)
            wait_until(lambda: server.running == 1)
            with server.connect() as second:
                second.sendall(head(Content_Length=len(body)) + body)
                wait_until(lambda: server.queued == 1)
            wait_until(lambda: server.queued == 0)
        wait_until(lambda: server.running == 0)
    assert lm.request_count == 1


# -- its place among others -------------------------------------------------------------------


def test_whoever_comes_when_too_many_wait_is_told_to_come_back(save):
    programs.gate.clear()
    with running(save(programs.Waiting()), concurrency=1, queue=1) as server, ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.ask, ASK)
        wait_until(lambda: server.running == 1)
        second = clients.submit(server.ask, ASK)
        wait_until(lambda: server.queued == 1)
        refused = [
            server.ask(ASK),
            server.ask(CHAT, "/v1/chat/completions"),
            server.ask(PATHS["/v1/responses"], "/v1/responses"),
        ]
        programs.gate.set()
        assert [each.result().status_code for each in (first, second)] == [200, 200]
    assert [each.status_code for each in refused] == [503] * 3
    assert [each.headers["retry-after"] for each in refused] == ["1"] * 3
    assert refused[0].json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert refused[1].json()["error"]["code"] == "service_unavailable"


def test_waiting_counts_to_the_time_that_an_answer_may_take(qa, lm):
    lm.latency = 30.0
    with running(qa, concurrency=1, timeout=0.5) as server, ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(server.ask, ASK) for _ in range(2)]
        assert [each.result().status_code for each in asked] == [504, 504]
        assert (server.running, server.queued) == (0, 0)


def test_many_streams_run_at_once(qa, lm):
    with running(qa) as server, ThreadPoolExecutor(40) as clients:
        asked = [clients.submit(server.ask, {**ASK, "stream": True}) for _ in range(40)]
        assert {events(each.result())[-1] for each in asked} == {"[DONE]"}

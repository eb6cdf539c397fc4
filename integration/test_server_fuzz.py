"""What no client should send: bodies and headers made up by the API's own page, by chance, and by those who mean ill.

The server answers each by a status that is its sender's fault, and goes on. In CI some hundred; `WHOLE=1` makes it
thousands.
"""

import json
import os
import random
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dspy
import mlflow
import pytest

from integration.deployments import Deployed, deployed
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

hypothesis = pytest.importorskip("hypothesis")
schemathesis = pytest.importorskip("schemathesis")

WHOLE = bool(os.environ.get("WHOLE"))
# Cases of each operation of the page, and of random bytes.
EXAMPLES, BYTES = (120, 1000) if WHOLE else (15, 150)
KEY = "key-of-the-fuzz-71c2"
PATIENCE = 2.0
BODY_BYTES = 100_000
QUESTION = {"dataframe_records": [{"question": "Why?"}]}
CHAT = {"messages": [{"role": "user", "content": "Why?"}]}
ASKED = {"/invocations": QUESTION, "/v1/chat/completions": CHAT, "/v1/responses": {"input": "Why?"}}
# Words of a server that an answer must not tell.
INSIDE = ("Traceback", "site-packages", 'File "', str(Path(__file__).parents[1]), KEY)
TYPES = (
    *["application/json"] * 8,
    "text/csv",
    "application/vnd.apache.parquet",
    "application/json; charset=utf-16",
    "",
    "x",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Iterator[Path]:
    """The folder of a program, whose language model answers any question."""
    folder = tmp_path_factory.mktemp("model") / "model"
    with OpenAIServer({"sure": lambda messages, body: chat_text({"answer": "because"})}) as lm:
        with dspy.context(lm=dspy.LM("openai/sure", api_base=lm.base_url, cache=False)):
            mlflow.dspy.save_model(dspy.Predict("question -> answer"), folder, input_example={"question": "Why?"})
        yield folder


@pytest.fixture(scope="module")
def serve(model, tmp_path_factory, environment) -> Callable[..., Iterator[Deployed]]:
    """Serves the model by `mlflow deployments run-local`."""

    def serve(**config: object):
        folder = tmp_path_factory.mktemp("server")
        own = {"MLFLOW_DSPY_API_KEYS": KEY, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        given = {"reload": 0, "tracing": "false", "body_bytes": BODY_BYTES, **config}
        return deployed(str(model), folder, {**environment, **own}, **given)

    return serve


@pytest.fixture(scope="module")
def server(serve) -> Iterator[Deployed]:
    """A server that goes on whatever it was sent, and has nothing to be sorry for."""
    with serve() as server:
        yield server
        assert_goes_on(server)
        assert "Traceback" not in server.process.stderr


def ask(server: Deployed, body: bytes, path: str = "/invocations", **headers: str) -> tuple[int, str]:
    """The status and the text of an answer."""
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **headers}
    request = urllib.request.Request(f"{server.url}{path}", body, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def assert_goes_on(server: Deployed) -> None:
    for path, body in ASKED.items():
        status, text = ask(server, json.dumps(body).encode(), path)
        assert status == 200 and "because" in text, (path, status, text)


def assert_refusal(status: int, text: str) -> None:
    """An error of the client's, in MLflow's form or OpenAI's, that tells nothing of the server."""
    assert 400 <= status < 500, (status, text)
    told = json.loads(text)
    assert told.get("error", told)["message"], text
    assert not [word for word in INSIDE if word in text], text


# -- what the API's own page makes up -----------------------------------------------------------


def test_answers_to_what_the_page_makes_up_are_those_that_it_describes(server):
    seen: Counter[int] = Counter()
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers={"Authorization": f"Bearer {KEY}"})
    for found in schema.get_all_operations():
        for mode in schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE:
            _fuzz(found.ok(), mode, seen)
    assert sum(seen.values()) > 6 * EXAMPLES
    assert not [status for status in seen if status >= 500], seen
    print(f"{sum(seen.values())} cases: {dict(sorted(seen.items()))}")


def _fuzz(operation, mode, seen: Counter[int]) -> None:
    checks = schemathesis.checks
    wanted = [checks.not_a_server_error]
    try:
        cases = operation.as_strategy(generation_mode=mode)
    except hypothesis.errors.Unsatisfiable:
        return

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases)
    def check(case) -> None:
        response = case.call(headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        seen[response.status_code] += 1
        case.validate_response(response, checks=wanted)
        assert not [word for word in INSIDE if word in response.text], response.text

    try:
        check()
    except hypothesis.errors.Unsatisfiable:
        # A path that takes nothing cannot be asked wrongly.
        return


# -- what comes by chance -----------------------------------------------------------------------


def test_random_bodies_are_refused_or_answered(server):
    chance = random.Random(7)
    seen: Counter[int] = Counter()
    for _ in range(BYTES):
        path = chance.choice(list(ASKED))
        headers = {"Content-Type": chance.choice(TYPES), "traceparent": _text(chance), "X-Request-Id": _text(chance)}
        status, text = ask(server, _mutated(json.dumps(ASKED[path]).encode(), chance), path, **headers)
        seen[status] += 1
        if status != 200:
            assert_refusal(status, text)
    print(f"{BYTES} bodies: {dict(sorted(seen.items()))}")


def test_random_bytes_on_a_connection_are_refused_or_ended(server):
    chance = random.Random(11)
    seen: Counter[str] = Counter()
    for _ in range(BYTES):
        whole = _request(chance.choice(list(ASKED)), json.dumps(QUESTION).encode())
        status = _sent(server, _mutated(whole, chance) if chance.random() < 0.8 else chance.randbytes(200))
        seen[status] += 1
        assert status in ("", "200") or status.startswith("4"), status
    print(f"{BYTES} connections: {dict(sorted(seen.items()))}")


def _mutated(whole: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, taken out, or there many times."""
    parts = bytearray(whole)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(parts)) if parts else 0
        kind = chance.randrange(3)
        if kind == 0 and parts:
            parts[at] = chance.randrange(256)
        elif kind == 1:
            del parts[at : at + chance.randint(1, 10)]
        else:
            parts[at:at] = bytes(parts[at : at + 10]) * chance.randint(1, 20)
    return bytes(parts)


def _text(chance: random.Random) -> str:
    return "".join(chr(chance.choice((*range(32, 127), *range(160, 256)))) for _ in range(chance.randint(0, 80)))


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _sent(server: Deployed, sent: bytes) -> str:
    """The status of the answer; none where there is none."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100).split(b" ", 2)
        except (ConnectionError, BrokenPipeError):
            return ""
    return answer[1].decode() if len(answer) > 1 and answer[0].startswith(b"HTTP/1.") else ""


# -- who means ill ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ASKED)
def test_a_key_of_nobody_s_is_refused(server, path):
    body = json.dumps(ASKED[path]).encode()
    for told in ("", "Bearer", "Bearer ", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", "Bearer \xff" * 500):
        status, text = ask(server, body, path, Authorization=told)
        assert status == 401
        assert_refusal(status, text)


@pytest.mark.parametrize(
    "path", ["/models/none/invocations", "/models/..%2f..%2fetc/invocations", "/models/%00/invocations"]
)
def test_a_model_of_no_name_is_not_found(server, path):
    status, text = ask(server, json.dumps(QUESTION).encode(), path)
    assert status == 404
    assert_refusal(status, text)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("name", ["none", "../../etc/passwd", "openai/gpt-4", "x" * 10_000], ids=range(4))
def test_openai_s_protocol_finds_no_model_of_no_name(server, path, name):
    status, text = ask(server, json.dumps({**ASKED[path], "model": name}).encode(), path)
    assert status == 404
    assert_refusal(status, text)


def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not(server):
    long = json.dumps({"inputs": {"question": "x" * BODY_BYTES}}).encode()
    status, text = ask(server, long)
    assert status == 413
    assert_refusal(status, text)
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (10_000, b"x" * 10_000) for _ in range(2 * BODY_BYTES // 10_000))
    # It may have ended the connection before all was sent.
    assert _sent(server, head.encode() + chunks) in ("413", "")


def test_clients_that_never_end_their_requests_hold_up_nobody(serve):
    whole = _request("/invocations", json.dumps(QUESTION).encode())
    begun = [whole[: len(whole) - 5], whole[:40], b""]
    with serve(timeout=PATIENCE, concurrency=8, queue=8) as server:
        held = [_holding(server, begun[number % len(begun)]) for number in range(60)]
        assert_goes_on(server)
        # Those whose head has come are told that the rest has not, and all places stay free.
        waiting = [connection for number, connection in enumerate(held) if number % len(begun) == 0]
        assert [connection.recv(100).split(b" ", 2)[1] for connection in waiting] == [b"408"] * len(waiting)
        assert_goes_on(server)
        for connection in held:
            connection.close()
        assert "Traceback" not in server.process.stderr


def _holding(server: Deployed, begun: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(begun)
    return connection

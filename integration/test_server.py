"""The server as a process: it starts from its environment alone, drains when it is told to end, and survives its LM."""

import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import dspy
import mlflow
import pytest

from integration.processes import PYTHON, Process, answers, free_port, running
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

ASK = json.dumps({"inputs": {"question": "What bear?"}}).encode()
HEAD = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def lm() -> Iterator[OpenAIServer]:
    """The language model behind the model."""
    with OpenAIServer({"bears": lambda messages, body: chat_text({"answer": "black bear"})}) as server:
        yield server


@pytest.fixture(scope="module")
def model(lm, tmp_path_factory) -> Path:
    """The folder of a model."""
    folder = tmp_path_factory.mktemp("model") / "qa"
    with dspy.context(lm=dspy.LM("openai/bears", api_base=lm.base_url, cache=False, num_retries=0)):
        mlflow.dspy.save_model(dspy.Predict("question -> answer"), folder)
    return folder


@pytest.fixture
def start(environment, tmp_path):
    """Starts a server from its environment, and tells its port."""

    def start(**told: object):
        port = free_port()
        command = [
            PYTHON,
            "-m",
            "uvicorn",
            "--factory",
            "mlflow_dspy_plugin.server.app:from_environment",
            "--port",
            port,
        ]
        variables = {name: str(value) for name, value in told.items()}
        return port, running(command, tmp_path / f"server-{port}", environment={**environment, **variables})

    return start


def ready(process: Process, port: int) -> None:
    process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/ping"), "answered /ping", 90)


def ask(port: int, body: bytes = ASK) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/invocations", body, HEAD)
    response = connection.getresponse()
    return response.status, response.read()


def test_the_environment_alone_describes_a_server(start, model, environment):
    port, process = start(MODEL_URI=model, MLFLOW_DSPY_SERVER_TRACING="false")
    with process as process:
        ready(process, port)
        assert ask(port) == (200, b'{"predictions": {"answer": "black bear"}}')
        assert environment["OPENAI_API_KEY"] not in process.stdout + process.stderr


def test_a_server_without_a_model_says_what_to_set(start):
    _, process = start()
    with process as process, pytest.raises(AssertionError, match="Set MLFLOW_DSPY_SERVER_MODELS"):
        process.finish(60)


def test_requests_under_way_are_answered_when_the_server_is_told_to_end(start, model, lm):
    port, process = start(MODEL_URI=model, MLFLOW_DSPY_SERVER_TRACING="false")
    with process as process:
        ready(process, port)
        lm.latency = 3.0
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/invocations", ASK, HEAD)
            process.wait_until(lambda: lm.at_once == 1, "asked the language model", 20)
            os.kill(process.pid, signal.SIGTERM)
            assert connection.getresponse().status == 200
        finally:
            lm.latency = 0.0


def test_many_clients_that_send_slowly_hold_up_nobody(start, model):
    port, process = start(MODEL_URI=model, MLFLOW_DSPY_SERVER_TRACING="false", MLFLOW_DSPY_SERVER_TIMEOUT=5)
    head = b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    with process as process:
        ready(process, port)
        slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(200)]
        for connection in slow:
            connection.sendall(head)
        assert ask(port)[0] == 200
        assert {connection.recv(4096).split()[1] for connection in slow} == {b"408"}
        for connection in slow:
            connection.close()
        assert ask(port)[0] == 200

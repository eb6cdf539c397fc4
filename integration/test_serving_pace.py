"""`mlflow models serve` answers as many requests at a time as the language model can take: counted there."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import dspy
import mlflow
import pytest

from integration.processes import PYTHON, Process, ProcessFailed, answers, free_port, running
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

REQUEST = {"dataframe_records": [{"question": "Why?"}]}
# Longer than it takes to send all requests: those that are answered at a time meet at the language model.
SECONDS = 2.0


@pytest.fixture(scope="module")
def lm() -> Iterator[OpenAIServer]:
    """A language model that takes its time."""
    with OpenAIServer({"patient": lambda messages, body: chat_text({"answer": "because"})}) as server:
        yield server


@pytest.fixture(scope="module")
def model(lm, tmp_path_factory) -> Path:
    """The folder of a program that asks it once."""
    folder = tmp_path_factory.mktemp("model") / "model"
    with dspy.context(lm=dspy.LM("openai/patient", api_base=lm.base_url, cache=False)):
        mlflow.dspy.save_model(dspy.Predict("question -> answer"), folder, input_example={"question": "Why?"})
    return folder


class Served:
    """A model behind `mlflow models serve`.

    Args:
        process: The server.
        url: Its address.
        lm: The language model that the program asks.
    """

    def __init__(self, process: Process, url: str, lm: OpenAIServer) -> None:
        self.process, self.url, self.lm = process, url, lm

    def ask(self) -> tuple[int, Any]:
        """The status and the JSON of one answer."""
        head = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/invocations", json.dumps(REQUEST).encode(), headers=head)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def ask_at_once(self, requests: int) -> list[tuple[int, Any]]:
        """The answers of requests that are sent together to a server that has answered before."""
        self.lm.latency = 0
        assert self.ask()[0] == 200
        self.lm.latency, self.lm.most_at_once = SECONDS, 0
        with ThreadPoolExecutor(requests) as pool:
            return list(pool.map(lambda _: self.ask(), range(requests)))


def is_gone(group: int) -> bool:
    """Whether the last process of a group ends within seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture
def serve(model, lm, environment, tmp_path) -> Callable[..., AbstractContextManager[Served]]:
    """Serves the model; `variables` are more of the environment's."""

    @contextmanager
    def served(*options: object, **variables: str) -> Iterator[Served]:
        port = free_port()
        command = [
            *(PYTHON.parent / "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"),
            *("--host", "127.0.0.1", "--port", port, *options),
        ]
        with running(command, tmp_path, environment={**environment, **variables}) as process:
            url = f"http://127.0.0.1:{port}"
            process.wait_until(lambda: answers(f"{url}/ping"), "answered /ping", 120)
            yield Served(process, url, lm)

    return served


def test_it_answers_64_requests_at_a_time_and_ends_when_it_is_told_to(serve):
    with serve() as server:
        got = server.ask_at_once(96)
        assert got == [(200, {"predictions": {"answer": "because"}})] * 96
        assert server.lm.most_at_once == 64
        os.killpg(server.process.pid, signal.SIGTERM)
        with pytest.raises(ProcessFailed, match="ended with -15"):
            server.process.finish(10)
        assert is_gone(server.process.pid)


def test_each_worker_has_threads_of_its_own(serve):
    with serve("--workers", 2, MLFLOW_DSPY_SERVING_CONCURRENCY="8") as server:
        most = []
        # Which worker takes a connection is the system's to say: at times one takes all.
        while len(most) < 10 and max(most, default=0) <= 8:
            assert {status for status, _ in server.ask_at_once(48)} == {200}
            most.append(server.lm.most_at_once)
        assert 8 < max(most) <= 16


def test_nought_leaves_the_pace_to_mlflow(serve):
    with serve(MLFLOW_DSPY_SERVING_CONCURRENCY="0") as server:
        requests = min(32, os.cpu_count() + 4) + 6
        assert {status for status, _ in server.ask_at_once(requests)} == {200}
        assert server.lm.most_at_once == requests - 6


def test_what_finds_no_room_to_wait_is_told_to_come_back(serve):
    with serve(MLFLOW_DSPY_SERVING_CONCURRENCY="4", MLFLOW_DSPY_SERVING_QUEUE="4") as server:
        got = server.ask_at_once(24)
        assert server.lm.most_at_once == 4
        refused = [answer for status, answer in got if status == 503]
        assert len(refused) == 16 and sum(status == 200 for status, _ in got) == 8
        assert {answer["error_code"] for answer in refused} == {"TEMPORARILY_UNAVAILABLE"}
        server.lm.latency = 0
        assert server.ask()[0] == 200

"""`mlflow deployments` with the target dspy: a real server, asked by MLflow's command line and by its client.

With `WHOLE=1` in the environment, what a container runs has what its image installs and nothing else.
"""

import importlib
import json
import os
import shlex
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dspy
import mlflow
import pandas as pd
import pytest
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException

from integration.conftest import CANARY_KEY, ROOT
from integration.deployments import Deployed, deployed, deployments, run_local
from integration.processes import PYTHON, ProcessFailed, answers, free_port, run, running
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

ANSWER = {"answer": "because it is a bear"}
CLIENT_KEY = "canary-of-a-client-93b1f0"
HANGING = """
import time
import dspy

class Hanging(dspy.Module):
    def forward(self, question: str):
        print("hanging", flush=True)
        time.sleep(600)
"""
WHOLE = bool(os.environ.get("WHOLE"))
DOCKERFILE = (ROOT / "docs" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def lm() -> Iterator[OpenAIServer]:
    with OpenAIServer({"bears": lambda messages, body: chat_text(ANSWER)}) as server:
        yield server


@pytest.fixture(scope="module")
def variables(environment, tmp_path_factory) -> dict[str, str]:
    """The environment of server and clients: their store is in SQLite."""
    return {**environment, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"}


@pytest.fixture(scope="module")
def store(variables) -> Iterator[mlflow.MlflowClient]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(variables["MLFLOW_TRACKING_URI"])
    yield mlflow.MlflowClient()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def model(store, lm, tmp_path_factory) -> str:
    """The URI of a registered model."""
    store.create_experiment("served", artifact_location=tmp_path_factory.mktemp("artifacts").as_uri())
    mlflow.set_experiment("served")
    with dspy.context(lm=dspy.LM("openai/bears", api_base=lm.base_url, cache=False)):
        mlflow.dspy.log_model(dspy.Predict("question -> answer"), name="qa", registered_model_name="qa")
    return "models:/qa/1"


@pytest.fixture(scope="module")
def server(model, variables, tmp_path_factory) -> Iterator[Deployed]:
    """One that all may ask."""
    with deployed(model, tmp_path_factory.mktemp("server"), variables) as server:
        yield server


def asked(server: Deployed) -> tuple[int, dict]:
    """The status and the body of one answer."""
    body = json.dumps({"inputs": ["Why?"]}).encode()
    request = urllib.request.Request(f"{server.url}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ended(server: Deployed) -> None:
    """Tell a server to end, as Kubernetes and systemd do."""
    os.killpg(server.process.pid, signal.SIGTERM)


def wait_for(count: int, lm: OpenAIServer) -> None:
    """Wait until so many requests are at the language model."""
    for _ in range(600):
        if lm.at_once == count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{lm.at_once} and never {count} requests were at the language model")


@pytest.fixture
def slow(lm) -> Iterator[OpenAIServer]:
    """A language model that takes three seconds."""
    lm.latency = 3.0
    yield lm
    lm.latency = 0.0


# -- asked by the command line and by the client ----------------------------------------------


def test_the_command_line_predicts_from_a_file(server, variables, tmp_path):
    (tmp_path / "input.json").write_text(json.dumps([{"question": "Why?"}, {"question": "Who?"}]))
    asked_for = ["predict", "-t", server.target, "--name", "qa", "-I", tmp_path / "input.json"]
    told = deployments(*asked_for, folder=tmp_path, environment=variables)
    assert json.loads(told.stdout.splitlines()[-1]) == {"predictions": [ANSWER, ANSWER]}
    deployments(*asked_for, "-O", tmp_path / "output.json", folder=tmp_path, environment=variables)
    assert json.loads((tmp_path / "output.json").read_text()) == {"predictions": [ANSWER, ANSWER]}


def test_the_command_line_lists_and_gets(server, variables, tmp_path):
    listed = deployments("list", "-t", server.target, folder=tmp_path / "list", environment=variables).stdout
    assert "'name': 'qa'" in listed and "'version': '1'" in listed
    got = deployments("get", "-t", server.target, "--name", "qa", folder=tmp_path / "get", environment=variables).stdout
    assert {"name: qa", "version: 1"} <= set(got.splitlines())


def test_the_command_line_explains_the_target(variables, tmp_path):
    told = deployments("help", "-t", "dspy", folder=tmp_path, environment=variables).stdout
    assert "mlflow deployments run-local -t dspy --name qa" in told and "concurrency  how many" in told


def test_the_client_predicts(server):
    client = get_deploy_client(server.target)
    table = pd.DataFrame({"question": ["Why?", "Who?"]})
    assert client.predict("qa", {"question": "Why?"}) == {"predictions": ANSWER}
    assert client.predict("qa", table).get_predictions().to_dict("records") == [ANSWER, ANSWER]
    assert client.predict(inputs=["Why?"], endpoint="qa")["predictions"] == ANSWER


def test_the_client_streams(server):
    told = list(get_deploy_client(server.target).predict_stream("qa", {"question": "Why?"}))
    assert "".join(each["chunk"] for each in told) == ANSWER["answer"]
    assert told[-1]["prediction"] == ANSWER


def test_a_stream_that_is_closed_early_ends_the_call_of_the_language_model(server, lm):
    lm.chunk_latency = 0.5
    stream = get_deploy_client(server.target).predict_stream("qa", {"question": "Why?"})
    next(stream)
    assert lm.streaming == 1
    stream.close()
    lm.chunk_latency = 0.0
    for _ in range(100):
        if not lm.streaming:
            return
        time.sleep(0.05)
    raise AssertionError("the language model goes on")


def test_an_unknown_model_is_the_servers_error(server):
    with pytest.raises(MlflowException, match="'qb'") as raised:
        get_deploy_client(server.target).predict("qb", ["Why?"])
    assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_only_who_has_a_key_is_answered_and_keys_are_written_nowhere(model, variables, tmp_path, monkeypatch):
    with deployed(model, tmp_path, {**variables, "MLFLOW_DSPY_API_KEYS": f"other, {CLIENT_KEY}"}) as server:
        with pytest.raises(MlflowException, match="401") as raised:
            get_deploy_client(server.target).predict("qa", ["Why?"])
        assert raised.value.error_code == "UNAUTHENTICATED"
        monkeypatch.setenv("MLFLOW_DSPY_API_KEY", CLIENT_KEY)
        assert get_deploy_client(server.target).predict("qa", ["Why?"])["predictions"] == ANSWER
        written = server.process.stdout + server.process.stderr
    assert CLIENT_KEY not in written and CANARY_KEY not in written


# -- how it begins and ends -------------------------------------------------------------------


def test_told_to_end_it_answers_who_waits_takes_nobody_else_and_loses_no_trace(model, variables, tmp_path, slow, store):
    experiment = store.create_experiment("drained")
    with (
        deployed(model, tmp_path, {**variables, "MLFLOW_EXPERIMENT_NAME": "drained"}) as server,
        ThreadPoolExecutor(21) as pool,
    ):
        waiting = [pool.submit(asked, server) for _ in range(20)]
        stream = pool.submit(list, get_deploy_client(server.target).predict_stream("qa", {"question": "Why?"}))
        wait_for(21, slow)
        ended(server)
        assert [each.result() for each in waiting] == [(200, {"predictions": ANSWER})] * 20
        assert stream.result()[-1]["prediction"] == ANSWER
        # It ends with 0.
        server.process.finish(30)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
    assert len(store.search_traces([experiment], max_results=100)) == 21


def test_it_waits_for_no_answer_that_takes_too_long(model, variables, tmp_path, lm):
    lm.latency = 60.0
    try:
        with deployed(model, tmp_path, variables, drain=1) as server, ThreadPoolExecutor(1) as pool:
            pool.submit(asked, server)
            wait_for(1, lm)
            ended(server)
            server.process.finish(30)
    finally:
        lm.latency = 0.0


def test_it_waits_for_no_program_that_hangs_in_a_thread(variables, tmp_path, monkeypatch):
    (tmp_path / "hanging_program.py").write_text(HANGING)
    monkeypatch.syspath_prepend(tmp_path)
    program = importlib.import_module("hanging_program").Hanging()
    mlflow.dspy.save_model(program, tmp_path / "model")
    with (
        deployed(str(tmp_path / "model"), tmp_path / "server", variables, drain=1, concurrency=2) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        for _ in range(2):
            pool.submit(asked, server)
        server.process.wait_until(lambda: server.process.stdout.count("hanging") == 2, "begun to hang", 60)
        ended(server)
        server.process.finish(60)


def test_it_does_not_listen_for_other_machines_without_keys(model, variables, tmp_path):
    with pytest.raises(ProcessFailed, match="other machines reach the server, and it asks for no key") as refused:
        run(run_local(model, host="0.0.0.0", port=free_port()), tmp_path, environment=variables)
    assert "MLFLOW_DSPY_API_KEYS" in str(refused.value) and "-C open_to_all=true" in str(refused.value)


@pytest.mark.parametrize(
    ("config", "keys"),
    [({}, {"MLFLOW_DSPY_API_KEYS": CLIENT_KEY}), ({"open_to_all": "true"}, {})],
    ids=["keys", "told to"],
)
def test_it_listens_for_other_machines_with_keys_or_when_it_is_told_to(model, variables, tmp_path, config, keys):
    with deployed(model, tmp_path, {**variables, **keys}, host="0.0.0.0", **config) as server:
        assert answers(f"{server.url}/health")


def test_a_port_that_somebody_has_is_told_before_the_model_is_loaded(model, variables, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ProcessFailed, match=r"cannot listen at 127\.0\.0\.1, port \d+ \(Address already in use\)"),
    ):
        run(run_local(model, port=taken.getsockname()[1]), tmp_path, environment=variables)


def test_a_model_that_is_not_there_ends_it_with_an_error(model, variables, tmp_path):
    with pytest.raises(ProcessFailed, match="There is no model at 'models:/qa/77'"):
        run(run_local("models:/qa/77", port=free_port()), tmp_path, environment=variables)


# -- the container ----------------------------------------------------------------------------


def in_json_form(instruction: str) -> list[str]:
    """The command of an instruction in its JSON form."""
    (line,) = [line for line in DOCKERFILE.splitlines() if line.startswith((f"{instruction} ", f"{instruction} --"))]
    return json.loads(line[line.index("[") :])


@pytest.fixture(scope="module")
def container(tmp_path_factory, environment) -> Path:
    """Where the commands of the image are: in an environment of its own with WHOLE=1, else in that of the tests."""
    (line,) = [line for line in DOCKERFILE.splitlines() if line.startswith("RUN pip install ")]
    install = line.removeprefix("RUN ").partition(" && ")[0]
    assert "$PACKAGES" in install and "/checkout[serve]" in install
    if not WHOLE:
        return Path(PYTHON).parent
    folder = tmp_path_factory.mktemp("container")
    variables = {**environment, "HOME": os.environ["HOME"]}
    run([PYTHON, "-m", "venv", folder / "venv"], folder, environment=variables)
    command = shlex.split(install.replace("$PACKAGES", "").replace("/checkout", str(ROOT)))
    run([folder / "venv" / "bin" / command[0], *command[1:]], folder, environment=variables, seconds=900)
    return folder / "venv" / "bin"


@pytest.fixture
def image(container, variables, model, tmp_path) -> tuple[list[str], list[str], dict[str, str]]:
    """What the container runs, how it is asked for its health, and its environment; at another port."""
    port = str(free_port())
    set_there = [line.removeprefix("ENV ") for line in DOCKERFILE.splitlines() if line.startswith("ENV ")]
    told = dict(part.split("=", 1) for line in set_there for part in shlex.split(line))
    told["MLFLOW_DSPY_SERVER_PORT"] = port
    command, health = in_json_form("CMD"), [part.replace("8080", port) for part in in_json_form("HEALTHCHECK")]
    path = f"{container}{os.pathsep}{variables['PATH']}"
    environment = {**variables, **told, "PATH": path, "MODEL_URI": model}
    return [container / command[0], *command[1:]], [container / health[0], *health[1:]], environment


def test_what_a_container_runs_serves_with_keys_and_is_healthy_and_ends_well(image, tmp_path):
    command, health, environment = image
    environment = {**environment, "MLFLOW_DSPY_API_KEYS": CLIENT_KEY}
    with running(command, tmp_path / "server", environment=environment) as process:
        server = Deployed(process, int(environment["MLFLOW_DSPY_SERVER_PORT"]))
        process.wait_until(lambda: answers(f"{server.url}/health"), "answered /health", 120)
        run(health, tmp_path / "health", environment=environment)
        assert asked(server)[0] == 401
        ended(server)
        process.finish(30)
    with pytest.raises(ProcessFailed, match="ended with 1"):
        run(health, tmp_path / "none", environment=environment)


def test_what_a_container_runs_does_not_begin_without_keys(image, tmp_path):
    command, _, environment = image
    with pytest.raises(ProcessFailed, match="it asks for no key"):
        run(command, tmp_path, environment=environment)


def test_a_container_runs_as_a_user_without_rights():
    users = [line for line in DOCKERFILE.splitlines() if line.startswith("USER ")]
    assert users == ["USER server"] and DOCKERFILE.index("USER server") < DOCKERFILE.index("\nCMD ")

"""`dspy.LM` through MLflow's AI gateway, in its server or before that: the provider's key stays there, the bytes arrive."""

import json
import re
import time
from importlib.util import find_spec

import dspy
import mlflow
import pytest

from integration.conftest import CANARY_KEY, ROOT, TrackingServer
from integration.processes import PYTHON, answers, free_port, running
from tests.fakes.openai_server import Fault, OpenAIServer

PROVIDER_KEY = "sk-provider-canary-7c1e9a3b5d"


def sailing(messages, body):
    """A language model that fails where it is asked to."""
    if "storm" in messages[-1]["content"]:
        return Fault(429)
    return "[[ ## answer ## ]]\nAnn and Bob\n\n[[ ## completed ## ]]"


@pytest.fixture(scope="module")
def provider():
    with OpenAIServer({"sailing": sailing}) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory, environment):
    """An `mlflow server` whose gateway may ask providers on this machine."""
    if find_spec("mlflow.server.gateway_api") is None:
        pytest.skip("the server of this release has no gateway")
    folder, port = tmp_path_factory.mktemp("gateway"), free_port()
    command = [
        *(PYTHON.parent / "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", 1),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "artifacts"),
    ]
    options = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_CRYPTO_KEK_PASSPHRASE": "a passphrase of the tests",
    }
    log = tmp_path_factory.mktemp("gateway-log")
    with running(command, log, environment={**environment, **options}) as process:
        uri = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: answers(f"{uri}/health"), "answered /health", 90)
        yield TrackingServer(uri, folder)


def blocks(language, provider, places):
    """The examples of the documentation in one language, with the addresses of here."""
    text = (ROOT / "docs" / "gateway.md").read_text()
    for there, here in {"https://api.openai.com/v1": provider.base_url, "gpt-4o-mini": "sailing", **places}.items():
        text = text.replace(there, here)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def documented(server, provider):
    return blocks("python", provider, {"http://127.0.0.1:5000": server.uri})


@pytest.fixture(scope="module")
def endpoint(documented):
    """The endpoint that the documentation makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROVIDER_KEY", PROVIDER_KEY)
        exec(documented[0], {})
    return "sailors"


@pytest.fixture
def through_gateway(server, endpoint):
    return dspy.LM(
        f"openai/{endpoint}", api_base=f"{server.uri}/gateway/mlflow/v1", api_key=CANARY_KEY, cache=False, num_retries=0
    )


def test_the_documentation_is_true(documented, endpoint, capsys):
    with dspy.context(lm=None):
        exec(documented[1], {})
    assert capsys.readouterr().out == "Ann and Bob\n"


def test_a_program_is_answered_and_the_provider_sees_its_messages_and_its_own_key(through_gateway, provider):
    ask = dspy.Predict("question -> answer")
    ask.demos = [dspy.Example(question="{{who}}\n?", answer="ü")]
    direct = dspy.LM("openai/sailing", api_base=provider.base_url, api_key="none", cache=False)
    sent = []
    for lm in (direct, through_gateway):
        provider.requests.clear()
        with dspy.context(lm=lm):
            assert ask(question="Who sails?").answer == "Ann and Bob"
        sent.append(provider.requests[-1])
    assert json.dumps(sent[0].body["messages"]) == json.dumps(sent[1].body["messages"])
    assert sent[1].headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert sent[1].body["model"] == "sailing"
    assert CANARY_KEY not in json.dumps([sent[1].headers, sent[1].body])


def test_its_trace_has_the_tokens(through_gateway, server):
    mlflow.set_tracking_uri(server.uri)
    mlflow.set_experiment("Gateway")
    mlflow.dspy.autolog()
    try:
        with dspy.context(lm=through_gateway):
            dspy.Predict("question -> answer")(question="Who sails?")
    finally:
        mlflow.dspy.autolog(disable=True)
    [trace] = [each for each in server.traces("Gateway") if each.data.spans[0].name == "Predict.forward"]
    assert trace.info.token_usage["total_tokens"] > 0
    assert PROVIDER_KEY not in trace.to_json() and CANARY_KEY not in trace.to_json()


def test_the_server_makes_a_trace_of_its_own_in_the_experiment_of_the_endpoint(through_gateway, server):
    with dspy.context(lm=through_gateway):
        dspy.Predict("question -> answer")(question="Who sails?")
    [experiment] = [each for each in server.client.search_experiments() if "sailors" in each.name]
    deadline = time.monotonic() + 60
    while not server.traces(experiment.name):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert PROVIDER_KEY not in "".join(trace.to_json() for trace in server.traces(experiment.name))


def test_a_stream_comes_in_pieces(through_gateway):
    stream = dspy.streamify(
        dspy.Predict("question -> answer"),
        stream_listeners=[dspy.streaming.StreamListener("answer")],
        async_streaming=False,
    )
    with dspy.context(lm=through_gateway):
        *pieces, prediction = stream(question="Who sails?")
    assert "".join(piece.chunk for piece in pieces).strip() == prediction.answer == "Ann and Bob"


def test_an_error_of_the_provider_is_told_without_its_key(through_gateway):
    with dspy.context(lm=through_gateway), pytest.raises(Exception, match="(?i)rate limit|429") as caught:
        dspy.Predict("question -> answer")(question="Is there a storm?")
    assert PROVIDER_KEY not in str(caught.value)


def test_a_model_that_asks_the_gateway_is_logged_without_a_key_and_answers_behind_pyfunc(
    through_gateway, server, monkeypatch
):
    mlflow.set_tracking_uri(server.uri)
    mlflow.set_experiment("Gateway models")
    with dspy.context(lm=through_gateway):
        info = mlflow.dspy.log_model(
            dspy.Predict("question -> answer"), name="sailing", input_example={"question": "?"}
        )
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    assert mlflow.pyfunc.load_model(info.model_uri).predict({"question": "Who?"}) == {"answer": "Ann and Bob"}
    assert server.files_holding(CANARY_KEY) == [] == server.files_holding(PROVIDER_KEY)


def test_the_gateway_of_earlier_releases_is_asked_in_the_same_way(provider, environment, tmp_path, capsys):
    if find_spec("mlflow.gateway.runner") is None or find_spec("slowapi") is None:
        pytest.skip("this release has no gateway of its own, or it is not installed: pip install 'mlflow[gateway]'")
    port = free_port()
    places = {"http://127.0.0.1:7000": f"http://127.0.0.1:{port}", "--port 7000": f"--port {port}"}
    [routes], [command] = (blocks(language, provider, places) for language in ("yaml", "sh"))
    (tmp_path / "gateway.yaml").write_text(routes)
    own = {**environment, "PROVIDER_KEY": PROVIDER_KEY}
    with running([PYTHON.parent / command.split()[0], *command.split()[1:]], tmp_path, environment=own) as process:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "answered /health", 90)
        provider.requests.clear()
        exec(blocks("python", provider, places)[-1], {})
    assert capsys.readouterr().out == "Ann and Bob\n"
    [request] = provider.requests
    assert request.headers["authorization"] == f"Bearer {PROVIDER_KEY}" and request.body["model"] == "sailing"

"""MLflow's deployment client for a server of this package: what it sends, and what it makes of the answers."""

import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from mlflow.deployments import PredictionsResponse
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.entry_points.deployments import DspyDeploymentClient, run_local
from tests.fakes.scripted_http import Answer, ScriptedServer, scripted_server

PREDICTED = Answer({"predictions": [{"answer": "because"}]})
CANARY = "canary-of-a-key-5d0c77"
SERVED = Answer({"object": "list", "data": [{"id": "qa", "version": "3"}, {"id": "other", "version": None}]})


def client_of(server: ScriptedServer) -> DspyDeploymentClient:
    return DspyDeploymentClient(f"dspy:{server.url}")


def failure_of(*answers: Answer) -> MlflowException:
    """What a prediction raises when the server answers so."""
    with scripted_server(*answers) as server, pytest.raises(MlflowException, match=server.url) as raised:
        client_of(server).predict("qa", "Why?")
    return raised.value


def events(*told: object) -> Iterator[bytes]:
    """Server-sent events, and their end."""
    return itertools.chain((f"data: {json.dumps(each)}\n\n".encode() for each in told), [b"data: [DONE]\n\n"])


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ("Why?", {"inputs": "Why?"}),
        (["Why?", "How?"], {"inputs": ["Why?", "How?"]}),
        (np.array(["Why?"]), {"inputs": ["Why?"]}),
        (pd.Series([1, 2]), {"inputs": [1, 2]}),
        ([{"question": "Why?"}], {"inputs": [{"question": "Why?"}]}),
        ({"question": "Why?", "k": 5}, {"dataframe_records": [{"question": "Why?", "k": 5}]}),
        ({"inputs": "Why?", "params": {"k": 1}}, {"inputs": "Why?", "params": {"k": 1}}),
        ({"messages": [{"role": "user", "content": "Why?"}]}, {"messages": [{"role": "user", "content": "Why?"}]}),
        ({"input": "Why?", "temperature": 1}, {"input": "Why?", "temperature": 1}),
        (
            pd.DataFrame({"question": ["Why?", "How?"], "k": [1.5, None]}, index=[7, 8]),
            {
                "dataframe_split": {
                    "columns": ["question", "k"],
                    "index": [7, 8],
                    "data": [["Why?", 1.5], ["How?", None]],
                }
            },
        ),
        (pd.DataFrame({"inputs": ["Why?", "How?"]}), {"inputs": ["Why?", "How?"]}),
        (pd.DataFrame({"inputs": {"question": "Why?"}}), {"inputs": {"question": "Why?"}}),
        (pd.DataFrame({"messages": [{"role": "user"}]}), {"messages": [{"role": "user"}]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_pyfunc_takes_is_sent_in_a_form_of_mlflow(inputs, body):
    with scripted_server(PREDICTED) as server:
        client_of(server).predict("qa", inputs)
    assert server.asked[0].body == body


def test_an_answer_is_what_mlflows_command_line_prints():
    with scripted_server(PREDICTED) as server:
        answer = client_of(server).predict("qa", ["Why?"])
    assert isinstance(answer, PredictionsResponse) and json.loads(answer.to_json()) == PREDICTED.body
    assert answer.get_predictions().answer.tolist() == ["because"]


def test_a_completion_is_an_answer_too():
    completion = {"object": "chat.completion", "choices": []}
    with scripted_server(Answer(completion)) as server:
        answer = client_of(server).predict(inputs={"messages": []})
    assert answer == completion and json.loads(answer.to_json()) == completion


def test_a_list_without_a_name_is_the_predictions():
    with scripted_server(Answer(["because"])) as server:
        assert client_of(server).predict("qa", "Why?") == {"predictions": ["because"]}


def test_a_model_is_named_as_a_deployment_or_as_an_endpoint_or_not_at_all():
    with scripted_server(PREDICTED) as server:
        client = client_of(server)
        client.predict("q/a", "Why?")
        client.predict(inputs="Why?", endpoint="qa")
        client.predict(inputs="Why?")
    assert [asked.path for asked in server.asked] == [
        "/models/q%2Fa/invocations",
        "/models/qa/invocations",
        "/invocations",
    ]


def test_the_target_alone_is_the_default_port_of_this_machine():
    with pytest.raises(MlflowException, match=r"http://127\.0\.0\.1:5001 cannot be reached|answered"):
        DspyDeploymentClient("dspy").list_deployments()


@pytest.mark.parametrize("target", ["dspy:qa", "dspy:ftp://host", "dspy:http://", "dspy:127.0.0.1:5001"])
def test_a_target_that_is_no_address_is_refused(target):
    with pytest.raises(MlflowException, match=r"Give one like dspy:http://127\.0\.0\.1:5001"):
        DspyDeploymentClient(target)


def test_a_password_in_the_target_is_refused_and_not_repeated():
    with pytest.raises(MlflowException, match="MLFLOW_DSPY_API_KEY") as raised:
        DspyDeploymentClient(f"dspy:http://user:{CANARY}@127.0.0.1:5001")
    assert CANARY not in str(raised.value)


def test_models_are_listed_by_name():
    with scripted_server(SERVED) as server:
        listed = client_of(server).list_deployments()
    assert [(each["name"], each["version"]) for each in listed] == [("qa", "3"), ("other", None)]
    assert server.asked[0].path == "/v1/models"


def test_a_model_is_got_by_name_and_an_unknown_one_is_an_error():
    with scripted_server(SERVED) as server:
        assert client_of(server).get_deployment("qa") == {"name": "qa", "id": "qa", "version": "3"}
        with pytest.raises(MlflowException, match="no model 'qb'; it has 'qa', 'other'") as raised:
            client_of(server).get_deployment("qb")
    assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize(
    ("ask", "instead"),
    [
        (lambda client: client.create_deployment("qa", "models:/qa/1"), "run-local -t dspy --name qa -m models:/qa/1"),
        (lambda client: client.update_deployment("qa", "models:/qa/2"), "move the alias"),
        (lambda client: client.delete_deployment("qa"), "SIGTERM"),
    ],
    ids=["create", "update", "delete"],
)
def test_what_a_running_server_cannot_do_is_said_with_what_to_do_instead(ask, instead):
    with pytest.raises(MlflowException, match=instead) as raised:
        ask(DspyDeploymentClient("dspy"))
    assert raised.value.error_code == "NOT_IMPLEMENTED"


def test_the_key_of_the_environment_is_sent_and_a_netrc_does_not_replace_it(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("MLFLOW_DSPY_API_KEY", CANARY)
    with scripted_server(PREDICTED) as server:
        client_of(server).predict("qa", "Why?")
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"


def test_without_a_key_no_netrc_is_sent_either(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("MLFLOW_DSPY_API_KEY", raising=False)
    with scripted_server(PREDICTED) as server:
        client_of(server).predict("qa", "Why?")
    assert "authorization" not in server.asked[0].headers


def test_a_key_is_not_sent_to_where_an_answer_points(monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_API_KEY", CANARY)
    with scripted_server(PREDICTED) as elsewhere:
        error = failure_of(Answer(status=307, headers={"Location": elsewhere.url}))
    assert "answered 307" in error.message and elsewhere.asked == []


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            Answer({"error_code": "INVALID_PARAMETER_VALUE", "message": "no 'k'"}, 400),
            "INVALID_PARAMETER_VALUE",
            "no 'k'",
        ),
        (
            Answer({"error": {"message": "bad key", "type": "x", "param": None, "code": None}}, 401),
            "UNAUTHENTICATED",
            "bad key",
        ),
        (Answer({"error_code": "SOMETHING_NEW", "message": "m"}, 504), "DEADLINE_EXCEEDED", "504: m"),
        (Answer({"error": "text"}, 404), "ENDPOINT_NOT_FOUND", "404: text"),
        (Answer(b"<html>bad gateway</html>", 502), "INTERNAL_ERROR", "502: Bad Gateway"),
        (Answer([1], 500), "INTERNAL_ERROR", r"500: \[1\]"),
        (Answer(b"<html>", 200), "TEMPORARILY_UNAVAILABLE", "no JSON"),
    ],
    ids=["mlflow", "openai", "unknown code", "text", "proxy", "list", "no json"],
)
def test_an_error_has_the_code_and_the_message_of_the_server(answer, code, said):
    with scripted_server(answer) as server, pytest.raises(MlflowException, match=said) as raised:
        client_of(server).predict("qa", "Why?")
    assert raised.value.error_code == code


def test_a_key_that_is_echoed_is_not_in_the_error(monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_API_KEY", CANARY)
    error = failure_of(Answer({"message": f"who is {CANARY}?"}, 401))
    assert CANARY not in error.message and "who is [REDACTED]?" in error.message


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_when_to_come_back_is_asked_again(status):
    with scripted_server(Answer({}, status, {"Retry-After": "0"}), PREDICTED) as server:
        assert client_of(server).predict("qa", "Why?") == PREDICTED.body
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "times"),
    [
        (Answer({}, 503, {"Retry-After": "0"}), 4),
        (Answer({}, 503), 1),
        (Answer({}, 500, {"Retry-After": "0"}), 1),
        (Answer({}, 503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 1),
    ],
    ids=["busy", "busy without a word", "broken", "busy until a date"],
)
def test_it_is_not_asked_for_ever_and_not_without_being_told_to(answer, times):
    with scripted_server(answer) as server, pytest.raises(MlflowException, match="answered 50"):
        client_of(server).predict("qa", "Why?")
    assert len(server.asked) == times


def test_a_server_that_is_not_there_is_an_error_that_says_what_to_do():
    with scripted_server(PREDICTED) as server:
        client = client_of(server)
    with pytest.raises(MlflowException, match="cannot be reached .*mlflow deployments help -t dspy") as raised:
        client.predict("qa", "Why?")
    assert raised.value.error_code == "TEMPORARILY_UNAVAILABLE"


def test_a_server_that_says_nothing_is_waited_for_as_long_as_mlflow_is_told_to(monkeypatch):
    monkeypatch.setenv("MLFLOW_DEPLOYMENT_PREDICT_TIMEOUT", "1")

    answering = threading.Event()
    with scripted_server(replace(PREDICTED, after=answering)) as server:
        with pytest.raises(MlflowException, match="within 1 seconds") as raised:
            client_of(server).predict("qa", "Why?")
        answering.set()
    assert raised.value.error_code == "DEADLINE_EXCEEDED"


def test_a_stream_yields_each_event_as_it_comes():
    seen, sent = [], []

    def slowly() -> Iterator[bytes]:
        for each in events({"chunk": "be"}, {"chunk": "cause ü"}):
            # What was sent has been seen before more is sent.
            sent.append(each)
            yield each
            while len(seen) < min(len(sent), 2):
                pass

    with scripted_server(Answer(slowly())) as server:
        for event in client_of(server).predict_stream("qa", {"question": "Why?"}):
            seen.append(event)
    assert seen == [{"chunk": "be"}, {"chunk": "cause ü"}]
    assert server.asked[0].body == {"dataframe_records": [{"question": "Why?"}], "stream": True}


def test_a_stream_that_is_closed_early_hangs_up():
    endless = (each for _ in itertools.count() for each in [b'data: {"chunk": "a"}\n\n' * 1000])
    with scripted_server(Answer(endless)) as server:
        stream = client_of(server).predict_stream("qa", "Why?")
        next(stream)
        stream.close()
        assert server.hung_up.wait(30)


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (
            Answer({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no model"}, 404),
            "RESOURCE_DOES_NOT_EXIST",
            "no model",
        ),
        (
            Answer(
                [*events({"chunk": "a"})][:1] + [b'data: {"error": {"error_code": "BAD_REQUEST", "message": "no"}}\n\n']
            ),
            "BAD_REQUEST",
            "no",
        ),
        (Answer([*events({"chunk": "a"})][:1]), "TEMPORARILY_UNAVAILABLE", "ended its answer before"),
        (Answer([*events({"chunk": "a"})][:1], whole=False), "TEMPORARILY_UNAVAILABLE", "broke off"),
        (Answer([b"data: {"]), "TEMPORARILY_UNAVAILABLE", "broke off"),
    ],
    ids=["refused", "error event", "no end", "cut", "half an event"],
)
def test_a_stream_that_fails_raises(answer, code, said):
    body = answer.body if isinstance(answer.body, dict) else iter(answer.body)
    with (
        scripted_server(Answer(body, answer.status, whole=answer.whole)) as server,
        pytest.raises(MlflowException, match=said) as raised,
    ):
        list(client_of(server).predict_stream("qa", "Why?"))
    assert raised.value.error_code == code


def test_a_model_of_another_flavor_is_not_served():
    with pytest.raises(MlflowException, match="'sklearn', but this target serves DSPy programs"):
        run_local("qa", "models:/qa/1", "sklearn")

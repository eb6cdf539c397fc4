"""A server that runs is seen from outside: by its metrics, its log and its traces."""

import json

import pytest

from tests.server.running import running

QUESTION = {"dataframe_records": [{"question": "q"}]}


def test_metrics_tell_of_the_requests_that_it_answered(qa):
    pytest.importorskip("prometheus_client")
    with running(qa) as server:
        assert server.ask(QUESTION).status_code == 200
        assert server.ask({"nothing": 1}).status_code == 400
        page = server.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    lines = page.text.splitlines()
    assert 'mlflow_dspy_requests_total{model="qa",path="/invocations",status="200"} 1.0' in lines
    assert any(line.startswith("mlflow_dspy_requests_total{") and 'status="400"} 1.0' in line for line in lines)
    assert 'mlflow_dspy_tokens_total{kind="input",model="qa"} 10.0' in lines
    assert 'mlflow_dspy_tokens_total{kind="output",model="qa"} 5.0' in lines
    assert "mlflow_dspy_requests_in_flight 0.0" in lines


def test_each_request_is_a_line_of_its_log(qa, capsys):
    with running(qa) as server:
        server.ask(QUESTION, headers={"X-Request-Id": "mine"})
        server.client.get("/nowhere?secret=1")
    ping, asked, lost = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (ping["path"], ping["status"]) == ("/ping", 200)
    assert (asked["request_id"], asked["path"], asked["model"], asked["status"]) == ("mine", "/invocations", "qa", 200)
    assert (asked["input_tokens"], asked["output_tokens"]) == (10, 5)
    assert lost["status"] == 404 and "secret" not in json.dumps(lost)

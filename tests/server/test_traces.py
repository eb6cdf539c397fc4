"""Requests are traced from the moment at which MLflow knows where traces belong, and answered before that too."""

import socket

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.seams.mlflow import flush_traces
from tests.server.running import running

QUESTION = {"dataframe_records": [{"question": "q"}]}
BODIES = {
    "/invocations": QUESTION,
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "q"}]},
    "/v1/responses": {"input": "q"},
}


@pytest.fixture
def saved(tmp_path, lm):
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def unsettled(empty_store, tmp_path, monkeypatch):
    """A process that has not asked for its experiment yet; it is named in the environment."""
    path = tmp_path / "store.db"
    path.write_bytes(empty_store.read_bytes())
    before = mlflow.get_tracking_uri()
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "tests")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "1")
    monkeypatch.setenv("MLFLOW_DSPY_SPOOL_DIR", str(tmp_path / "spool"))
    mlflow.set_tracking_uri(f"sqlite:///{path}")
    mlflow.tracing.reset()
    yield
    mlflow.dspy.autolog(disable=True)
    mlflow.set_tracking_uri(before)
    mlflow.tracing.reset()


def test_a_request_leaves_a_trace_in_the_experiment_of_the_environment(saved, unsettled):
    with running(saved, tracing=True) as server:
        assert server.ask(QUESTION, headers={"X-User-Id": "ada"}).status_code == 200
    flush_traces()
    [trace] = mlflow.search_traces(return_type="list", **_in("1"))
    assert trace.info.trace_metadata["mlflow.trace.user"] == "ada"
    assert trace.info.trace_metadata["mlflow.dspy.served_model"] == "qa"
    assert mlflow.tracking.fluent._active_experiment_id == "1"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tracking_server_that_does_not_answer_keeps_no_request_waiting(path, stream, saved, unsettled, monkeypatch):
    monkeypatch.setattr("mlflow_dspy_plugin.server.traces._PATIENCE", 0.1)
    # It ends with its socket.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent, running(saved, tracing=True) as server:
        mlflow.set_tracking_uri(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert server.ask({**BODIES[path], "stream": stream}, path).status_code == 200
        silent.close()


def _in(experiment: str) -> dict:
    try:
        mlflow.search_traces(return_type="list", locations=[experiment], max_results=1)
    except TypeError:
        return {"experiment_ids": [experiment]}
    return {"locations": [experiment]}

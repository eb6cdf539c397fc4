"""What delivery stores is what MLflow's own exporter stores, straight or by way of the spool."""

import shutil
import time

import mlflow
import pytest
from mlflow.entities import SpanEvent, SpanType

from mlflow_dspy_plugin.delivery import adoption
from mlflow_dspy_plugin.seams.ended_traces import from_line, to_line
from tests.delivery.rows import rows_of


def call_model():
    with mlflow.start_span("model", span_type=SpanType.CHAT_MODEL) as span:
        span.set_inputs({"messages": [{"role": "user", "content": "Grüße, 你好, \U0001f43b"}]})
        span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5})
        span.set_attribute("mlflow.llm.model", "m")
        span.set_attribute("mlflow.llm.cost", {"input_cost": 0.1, "output_cost": 0.2, "total_cost": 0.3})
        span.set_outputs({"choices": [{"message": {"role": "assistant", "content": "a" * 2000}}]})


def fail():
    with mlflow.start_span("tool", span_type=SpanType.TOOL):
        raise ValueError("no such tool")


@mlflow.trace(name="whole", span_type=SpanType.AGENT, attributes={"list": [1, {"two": None}], "nan": float("nan")})
def program(question):
    mlflow.update_current_trace(
        tags={"team": "bears"}, metadata={"mlflow.trace.session": "s", "mlflow.trace.user": "u"}
    )
    mlflow.log_feedback(trace_id=mlflow.get_active_trace_id(), name="good", value=True)
    call_model()
    try:
        fail()
    except ValueError as error:
        mlflow.get_current_active_span().add_event(SpanEvent.from_exception(error))
    return {"answer": [question, 1.5, True]}


@mlflow.trace
def failing():
    raise RuntimeError("at the root")


def make_traces():
    """Two traces with all that a trace can have."""
    program("why")
    time.sleep(0.002)
    with pytest.raises(RuntimeError, match="at the root"):
        failing()


@pytest.fixture
def mlflow_s_rows(store, tmp_path, monkeypatch):
    """What MLflow's own exporter stores."""
    path = tmp_path / "mlflow-s-own.db"
    shutil.copy(store, path)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        mlflow.set_tracking_uri(f"sqlite:///{path}")
        mlflow.tracing.reset()
        make_traces()
    mlflow.set_tracking_uri(f"sqlite:///{store}")
    mlflow.tracing.reset()
    return rows_of(path)


def test_the_rows_are_the_same(mlflow_s_rows, install, store):
    install()
    with mlflow.start_span("before"):
        adoption.adopt()
    adoption.flush()
    mlflow.MlflowClient().delete_traces("1", max_timestamp_millis=int(time.time() * 1000) + 1)
    make_traces()
    adoption.flush()
    same(rows_of(store), mlflow_s_rows)


def test_the_rows_are_the_same_after_a_way_through_text(mlflow_s_rows, install, store):
    """A batch of lines is what the spool is read as."""
    lines = []
    undo = install()
    adopted = adoption._installed[-1]
    with mlflow.start_span("before"):
        adoption.adopt()
    adoption.flush()
    mlflow.MlflowClient().delete_traces("1", max_timestamp_millis=int(time.time() * 1000) + 1)
    [delivery] = adopted._deliveries.values()
    put, delivery.put = delivery.put, lambda trace: lines.append(to_line(trace))
    make_traces()
    delivery.put = put
    for _ in range(2):
        # The second time is that of a process that died before it deleted the line.
        for line in lines:
            delivery.put(from_line(line))
        adoption.flush()
    undo()
    same(rows_of(store), mlflow_s_rows)


def same(rows, expected):
    """Compared row by row, so that a failure shows the row."""
    assert rows.keys() == expected.keys()
    for table, found in rows.items():
        assert len(found) == len(expected[table]), table
        for row, other in zip(found, expected[table], strict=True):
            assert row == other, table


def test_the_sizes_are_those_that_mlflow_computes(install):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
        program("why")
    install()
    program("why")
    adoption.flush()
    theirs, ours = [int(each.info.trace_metadata["mlflow.trace.sizeBytes"]) for each in search()]
    assert adoption.report().written == 1
    # A duration may have more digits than another.
    assert abs(theirs - ours) < 20


def search():
    return mlflow.search_traces(return_type="list")

"""A trace leaves when the last of its spans has ended, and is there for whoever reads in this process."""

import threading

import mlflow
import pytest
from mlflow.pyfunc.context import Context, set_prediction_context
from mlflow.tracing import provider

from mlflow_dspy_plugin.delivery import adoption, exporter
from mlflow_dspy_plugin.seams import mlflow_export
from tests.delivery.conftest import stored_in, trace_of
from tests.delivery.test_adoption import names_stored

# What MLflow itself writes before the program goes on can be read at once.
READS_WAIT = not hasattr(provider, "provider")


def root_with_running_children(count):
    root = mlflow.start_span_no_context("root")
    adoption.adopt()
    children = [mlflow.start_span_no_context(f"child-{number}", parent_span=root) for number in range(count)]
    root.end()
    return children


def test_a_root_waits_for_the_last_span_below_it(install, store):
    install()
    first, last = root_with_running_children(2)
    last.end()
    adoption.flush()
    assert stored_in(store) == []
    first.end()
    adoption.flush()
    assert names_stored() == [["root", "child-0", "child-1"]]


def test_spans_that_end_at_once_in_many_threads_send_their_root_once(install, store):
    install()
    for _ in range(20):
        children = root_with_running_children(8)
        barrier = threading.Barrier(8)

        def end(child, barrier=barrier):
            barrier.wait()
            child.end()

        threads = [threading.Thread(target=end, args=(child,)) for child in children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    adoption.flush()
    assert adoption.report().written == len(stored_in(store)) == 20


def test_a_root_whose_spans_never_end_leaves_when_delivery_does(install):
    undo = install()
    root_with_running_children(1)
    undo()
    assert names_stored() == [["root", "child-0"]]


def test_of_very_many_such_roots_the_oldest_leaves(install, store, monkeypatch):
    monkeypatch.setattr(exporter, "_MAX_DEFERRED", 2)
    install()
    for _ in range(5):
        root_with_running_children(1)
    adoption.flush()
    assert len(stored_in(store)) == 3


def test_a_trace_that_is_sampled_out_leaves_nothing(install, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "0")
    install()
    trace_of("root", "child")
    adoption.flush()
    assert stored_in(store) == []


@pytest.mark.skipif(not READS_WAIT, reason="MLflow's own exporter does not wait by default either")
def test_reads_see_what_has_ended(install):
    install()
    trace_id = trace_of("root", "child")
    assert mlflow.get_trace(trace_id).info.trace_id == trace_id
    other = trace_of("root")
    assert len(mlflow.search_traces(return_type="list")) == 2
    mlflow.set_trace_tag(other, "team", "bears")
    assert mlflow.get_trace(other).info.tags["team"] == "bears"
    third = trace_of("root")
    mlflow.log_feedback(trace_id=third, name="good", value=True)
    assert mlflow.get_trace(third).info.assessments[0].value is True


@pytest.mark.skipif(READS_WAIT, reason="reads wait")
def test_reads_that_flush_see_what_has_ended(install):
    install()
    trace_id = trace_of("root", "child")
    assert len(mlflow.search_traces(return_type="list", flush=True)) == 1
    assert mlflow.get_trace(trace_of("root"), flush=True) is not None
    assert mlflow.get_trace(trace_id) is not None


def test_undoing_leaves_mlflow_s_client_as_it_was(install):
    before = dict(vars(mlflow_export.TracingClient))
    undo = install()
    trace_of("root")
    undo()
    assert dict(vars(mlflow_export.TracingClient)) == before


def test_a_user_who_wants_to_wait_does(install, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    install()
    trace_id = trace_of("root", "child")
    assert stored_in(store) == [trace_id]


def test_a_user_who_waits_does_not_do_so_for_a_store_that_is_away(install, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    install()
    server.refuse = lambda path, trace_id: 503
    trace_of("root")
    assert adoption.report().spooled == 1
    server.refuse = lambda path, trace_id: None
    adoption.flush()
    assert adoption.report().written == 1


def test_traces_of_an_evaluation_are_stored_at_once_and_known_by_its_request(install, store):
    install()
    with set_prediction_context(Context(request_id="row-1", is_evaluate=True)):
        trace_id = trace_of("root", "child")
        assert stored_in(store) == [trace_id]
    assert mlflow.get_trace("row-1").info.trace_id == trace_id


def test_flushing_does_not_wait_for_what_comes_later(install, server):
    install()
    trace_of("first")
    ended = threading.Event()

    def keep_going():
        while not ended.is_set():
            trace_of("root")
            ended.wait(0.005)

    threads = [threading.Thread(target=keep_going) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert adoption.flush(60)
    finally:
        ended.set()
        for thread in threads:
            thread.join()

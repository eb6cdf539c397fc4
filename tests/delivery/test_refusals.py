"""What the store does not take is kept, tried again and reported; what it will never take is dropped alone."""

import time

import mlflow
import pytest

from mlflow_dspy_plugin.delivery import adoption
from mlflow_dspy_plugin.delivery.limits import Limits
from tests.delivery.conftest import stored_in, trace_of
from tests.fakes.tracking_server import SPANS, START, tracking_server

REFUSED_FOR_NOW = [408, 429, 500, 502, 503, 504]


def figures():
    report = adoption.report()
    return report.written, report.waiting, report.spooled, report.dropped


@pytest.mark.parametrize("status", REFUSED_FOR_NOW)
@pytest.mark.parametrize("path", [START, SPANS])
def test_a_store_that_fails_for_now_gets_the_traces_later(path, status, install, server, log):
    install()
    server.refuse = lambda asked, trace_id: status if asked == path else None
    ids = [trace_of("root", "child") for _ in range(3)]
    adoption.flush()
    assert figures() == (0, 0, 3, 0)
    [warning] = log
    assert server.uri in warning and "kept in" in warning
    server.refuse = lambda asked, trace_id: None
    adoption.flush()
    assert figures() == (3, 0, 0, 0)
    assert sorted(server.started) == sorted(ids)
    assert {server.spans[each] >= 2 for each in ids} == {True}


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_not_accepted_keep_the_traces_and_are_one_error(status, install, server, log):
    install()
    server.refuse = lambda path, trace_id: status if path == START else None
    for _ in range(2):
        trace_of("root")
        adoption.flush()
    assert figures() == (0, 0, 2, 0)
    [message] = log
    assert "Renew them" in message
    # One trace was enough to know.
    assert server.asked[START] == 2


@pytest.mark.parametrize("status", [400, 409])
def test_a_trace_that_is_rejected_is_dropped_without_its_mates_and_not_tried_again(status, install, server, log):
    install()
    trace_of("first")
    adoption.flush()
    bad, good = trace_of("bad"), trace_of("good")
    server.refuse = lambda path, trace_id: status if trace_id == bad else None
    adoption.flush()
    adoption.flush()
    assert figures() == (2, 0, 0, 1)
    assert server.started[good] == 1
    assert [f"refused with {status}" in message for message in log] == [True]


def test_a_trace_that_breaks_the_store_again_and_again_is_given_up_while_others_pass(install, server, log):
    install()
    bad = trace_of("bad")
    server.refuse = lambda path, trace_id: 500 if trace_id == bad else None
    adoption.flush()
    assert figures() == (0, 0, 1, 0)
    for _ in range(6):
        trace_of("good")
        adoption.flush()
    assert figures() == (6, 0, 0, 1)


def test_a_store_that_fails_on_everything_gives_no_trace_up(install, server):
    install()
    trace_of("first")
    adoption.flush()
    server.refuse = lambda path, trace_id: 500 if path == START else None
    trace_of("kept")
    for _ in range(6):
        adoption.flush()
    assert figures() == (1, 0, 1, 0)


def test_traces_of_a_deleted_experiment_are_dropped_and_others_stored(install, store, log):
    experiment = mlflow.create_experiment("short-lived")
    install()
    trace_of("root")
    span = mlflow.start_span_no_context("orphan", experiment_id=experiment)
    mlflow.delete_experiment(experiment)
    span.end()
    trace_of("root")
    adoption.flush()
    assert figures() == (2, 0, 0, 1)
    assert len(stored_in(store)) == 2
    assert ["dropped" in message for message in log] == [True]


def test_nobody_is_asked_more_than_whether_he_is_there_before_he_says_so(install, server):
    install()
    server.refuse = lambda path, trace_id: 503
    for _ in range(50):
        trace_of("root")
    adoption.flush()
    assert server.asked[START] == server.asked[SPANS] == 0
    assert figures() == (0, 0, 50, 0)


def test_a_server_that_is_not_there_yet_gets_the_traces_when_it_is(install, tmp_path):
    with tracking_server(tmp_path) as gone:
        port = int(gone.uri.rpartition(":")[2])
    mlflow.set_tracking_uri(gone.uri)
    install()
    ids = [trace_of("root") for _ in range(2)]
    adoption.flush()
    assert figures() == (0, 0, 2, 0)
    with tracking_server(tmp_path, port) as there:
        adoption.flush()
        assert sorted(there.started) == sorted(ids)


def test_a_full_spool_drops_the_newest_and_says_once_what_to_do(install, server, log, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_SPOOL_MAX_MB", "0.01")
    install()
    server.refuse = lambda path, trace_id: 503
    ids = []
    for _ in range(20):
        ids.append(trace_of("root", "child"))
        adoption.flush()
    _, _, kept, dropped = figures()
    assert kept > 0 and dropped > 0 and kept + dropped == 20
    assert ["MLFLOW_DSPY_SPOOL_MAX_MB" in message for message in log].count(True) == 1
    server.refuse = lambda path, trace_id: None
    adoption.flush()
    assert sorted(server.started) == sorted(ids[:kept])


def test_a_spool_that_cannot_be_written_drops_and_says_once_what_to_do(install, server, log, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLFLOW_DSPY_SPOOL_DIR", str(tmp_path / "file"))
    install()
    server.refuse = lambda path, trace_id: 503
    for _ in range(2):
        trace_of("root")
        adoption.flush()
    assert figures() == (0, 0, 0, 2)
    assert ["MLFLOW_DSPY_SPOOL_DIR" in message for message in log].count(True) == 1


def test_more_than_memory_may_hold_goes_to_disk_and_arrives(install, server, monkeypatch):
    monkeypatch.setattr(adoption.Limits, "from_environment", lambda: Limits(waiting_traces=5, batch_traces=2))
    install()
    server.answering.clear()
    ids = [trace_of("root") for _ in range(30)]
    report = adoption.report()
    assert report.waiting <= 5 + 2 and report.spooled >= 30 - 7
    server.answering.set()
    adoption.flush()
    assert figures() == (30, 0, 0, 0)
    assert sorted(server.started) == sorted(ids)


def test_the_more_waits_the_less_the_thread_stands_back(install, server, monkeypatch):
    limits = Limits(waiting_traces=4, batch_traces=1, work_share=1e-5)
    monkeypatch.setattr(adoption.Limits, "from_environment", lambda: limits)
    install()
    server.answering.clear()
    for _ in range(5):
        trace_of("root")
    server.answering.set()
    # With that share of its time one alone would take minutes.
    deadline = time.monotonic() + 20
    while adoption.report().waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert adoption.report().waiting == 0


def test_long_text_counts_for_what_memory_may_hold(install, server, monkeypatch):
    monkeypatch.setattr(adoption.Limits, "from_environment", lambda: Limits(waiting_characters=10_000))
    install()
    server.answering.clear()
    for _ in range(3):
        span = mlflow.start_span_no_context("root", inputs={"text": "x" * 9_000})
        adoption.adopt()
        span.end()
    assert adoption.report().spooled >= 1
    server.answering.set()
    adoption.flush()
    assert figures() == (3, 0, 0, 0)


def test_switching_off_waits_no_longer_than_is_set_and_keeps_the_rest(install, server, log, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_EXIT_TIMEOUT", "0.3")
    undo = install()
    server.answering.clear()
    ids = [trace_of("root") for _ in range(3)]
    undo()
    assert "3 traces are kept in" in log[-1]
    server.answering.set()
    install()
    trace_of("later")
    adoption.flush()
    assert set(ids) <= set(server.started)


def test_a_secret_in_the_address_is_in_no_message(install, log, tmp_path):
    with tracking_server(tmp_path) as gone:
        address = gone.uri.removeprefix("http://")
    mlflow.set_tracking_uri(f"http://me:canary-password@{address}")
    install()
    trace_of("root")
    adoption.flush()
    assert log and "canary-password" not in "".join(log)

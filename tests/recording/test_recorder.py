"""What is said of runs arrives once and whole, whatever the store does meanwhile, and nobody waits for it."""

import threading

import pytest

from mlflow_dspy_plugin.recording.runs import begin_run, run_there
from tests.fakes.runs import BASE
from tests.recording.conftest import EXPERIMENT, SECONDS, arrive, begin, facts, wait_for


def tell(run, steps=3):
    """Say all kinds of things of a run, and end it."""
    run.params({"p": "1"})
    for step in range(steps):
        run.metrics({"m": float(step)}, step=step)
    run.text("told", "told.txt")
    run.tags({"t": "1"})
    run.end("FINISHED")


def is_whole(found, steps=3):
    """Whether a run of the server is as `tell` has told."""
    assert found["info"]["status"] == "FINISHED"
    assert (facts(found, "params"), facts(found, "tags")) == ({"p": "1"}, {"t": "1"})
    assert [each["step"] for each in found["data"]["metrics"]] == list(range(steps))
    return True


def test_what_is_said_arrives_in_order_with_few_requests(recorder, server):
    top = begin(recorder)
    child = top.child("child", {})
    tell(top)
    tell(child)
    assert recorder.flush(SECONDS)
    [found], [below] = server.runs.named("top"), server.runs.named("child")
    assert is_whole(found) and is_whole(below)
    assert {"key": "mlflow.parentRunId", "value": found["info"]["run_id"]} in below["data"]["tags"]
    # All that is said of both: params, metrics and tags of a run together.
    assert {path.removeprefix(BASE): count for path, count in server.asked.items() if path.startswith(BASE)} == {
        "create": 2,
        "log-batch": 2,
        "update": 2,
        # To say where the whole can be seen.
        "get": 1,
    }


def test_nothing_is_asked_of_a_server_that_nothing_is_said_to(recorder, server):
    assert recorder.flush(SECONDS)
    recorder.stop(SECONDS)
    assert server.asked == {}


def test_the_server_is_down_while_all_is_said_and_gets_it_when_it_is_back(recorder, server, log):
    server.refuse = lambda path, trace_id: 503
    top = begin(recorder)
    tell(top)
    assert not recorder.flush(SECONDS)
    assert not recorder.is_healthy
    assert (top.run_id, server.runs.kept) == (None, {})
    server.refuse = lambda path, trace_id: None
    arrive(recorder)
    assert is_whole(server.runs.named("top")[0])
    [told] = log
    assert "cannot be reached" in told and str(recorder._journal.folder) in told


@pytest.mark.parametrize("status", [429, 500, 504])
@pytest.mark.parametrize("done", [False, True], ids=["before it is done", "after it is done"])
def test_every_third_request_fails_and_all_arrives_once(status, done, recorder, server):
    count = iter(range(1_000_000))

    def fails(path, *_):
        return status if path.startswith(BASE) and next(count) % 3 == 0 else None

    setattr(server, "lose" if done else "refuse", fails)
    tops = [begin(recorder) for _ in range(2)]
    for top in tops:
        tell(top)
    arrive(recorder)
    found = server.runs.named("top")
    assert len(found) == 2 and all(map(is_whole, found))


def test_a_server_that_denies_the_credentials_gets_all_once_it_accepts_them(recorder, server, log):
    server.refuse = lambda path, trace_id: 401 if path != "/health" else None
    tell(begin(recorder))
    assert not recorder.flush(SECONDS)
    server.refuse = lambda path, trace_id: None
    arrive(recorder)
    assert is_whole(server.runs.named("top")[0])
    [told] = log
    assert "does not accept the credentials" in told


def test_what_is_rejected_is_left_out_with_one_warning_and_the_rest_arrives(recorder, server, log):
    top = begin(recorder)
    recorder.flush(SECONDS)
    for number in range(3):
        # Rejected by MLflow's client: no metric may be a text.
        recorder.put({"do": "metrics", "run": top.key, "experiment": "1", "metrics": [["bad", "text", 0, number]]})
    tell(top)
    recorder.put({"do": "unheard of", "run": top.key, "experiment": "1"})
    assert recorder.flush(SECONDS)
    assert is_whole(server.runs.named("top")[0])
    rejected = [each for each in log if "rejects a part of a run" in each]
    assert len(rejected) == len(log) == 2
    assert "does not know the operation 'unheard of'" in rejected[1]


def test_a_run_that_cannot_be_made_is_left_out_with_what_is_below_it_and_others_arrive(recorder, server, log):
    experiments = []
    server.refuse = lambda path, trace_id: 400 if path.endswith("create") and not experiments else None
    lost = begin(recorder, "lost")
    tell(lost.child("below", {}))
    assert recorder.flush(SECONDS)
    experiments.append("made")
    tell(begin(recorder))
    assert recorder.flush(SECONDS)
    assert [run["info"]["run_name"] for run in server.runs.kept.values()] == ["top"]
    assert all("rejects a part of a run" in each for each in log)


def test_an_operation_that_breaks_the_store_every_time_is_given_up(recorder, server, log):
    server.refuse = lambda path, trace_id: 500 if path.endswith("log-inputs") else None
    top = begin(recorder)
    top.inputs({"name": "d", "digest": "1", "source_type": "code", "source": "{}"}, "train")
    tell(top)
    arrive(recorder)
    assert is_whole(server.runs.named("top")[0])
    assert server.asked[f"{BASE}log-inputs"] == 4
    assert sum("rejects a part of a run" in each for each in log) == 1


def test_what_a_process_has_left_the_next_one_does(make, server):
    left = make()
    server.refuse = lambda path, trace_id: 503
    tell(begin(left))
    left.stop(0)
    assert server.runs.kept == {}
    server.refuse = lambda path, trace_id: None
    later = make()
    later.start()
    tell(begin(later, "later"))
    wait_for(lambda: later.flush(1) and server.runs.named("top"))
    arrive(later)
    assert is_whole(server.runs.named("top")[0])
    assert is_whole(server.runs.named("later")[0])


def test_what_a_process_has_half_done_the_next_one_ends_without_a_second_run(make, server):
    killed = make()
    top = begin(killed)
    for file in ("first", "second"):
        top.text("told", file)
    server.refuse = lambda path, trace_id: 503 if path.endswith("update") else None
    tell(top)
    assert not killed.flush(SECONDS)
    # Its journal stands as it would if it were killed here.
    killed.stop(0)
    server.refuse = lambda path, trace_id: None
    later = make()
    later.put({"do": "tags", "run": top.key, "experiment": "1", "tags": {"later": "1"}})
    wait_for(lambda: later.flush(1) and server.runs.named("top")[0]["info"]["status"] == "FINISHED")
    [found] = server.runs.kept.values()
    assert facts(found, "tags") == {"t": "1", "later": "1"}
    assert [each["step"] for each in found["data"]["metrics"]] == [0, 1, 2]


def test_lines_of_another_release_are_left_and_the_rest_is_done(make, tmp_path, server):
    left = make()
    server.refuse = lambda path, trace_id: 503
    tell(begin(left))
    left.stop(0)
    [journal] = (tmp_path / "journal").glob("*.jsonl")
    journal.write_bytes(b'{"version": 2}\nno json\n' + journal.read_bytes() + b'{"do": "lat')
    server.refuse = lambda path, trace_id: None
    later = make()
    tell(begin(later, "later"))
    wait_for(lambda: later.flush(1) and server.runs.named("top"))
    arrive(later)
    assert is_whole(server.runs.named("top")[0])


def test_nobody_waits_for_a_server_that_hangs_longer_than_is_said(recorder, server):
    server.answering.clear()
    top = begin(recorder)
    tell(top)
    # None of these could return before the server answers, which it never does.
    assert recorder.wait_for_run(top.key, 0.2) is None
    assert not recorder.flush(0.2)
    recorder.stop(0.2)
    assert server.runs.kept == {}


def test_a_store_that_is_slow_is_waited_for_during_a_part_of_the_work_only(recorder, server):
    answering = threading.Event()
    server.refuse = lambda path, trace_id: None if path == "/health" or answering.wait(SECONDS) else 503
    top = begin(recorder)
    # This could not return before the server answers, which it does not before this returns.
    recorder.settle(worked=1.0)
    assert not recorder.is_quick
    assert server.runs.kept == {}
    answering.set()
    assert recorder.flush(SECONDS)
    assert top.run_id in server.runs.kept


def test_a_run_of_somebody_else_is_written_to_and_not_ended(recorder, server):
    top = begin(recorder)
    recorder.flush(SECONDS)
    users = run_there(recorder, EXPERIMENT, top.run_id)
    users.tags({"t": "1"})
    users.end("FAILED")
    assert recorder.flush(SECONDS)
    found = server.runs.kept[top.run_id]
    assert (found["info"]["status"], facts(found, "tags")) == ("RUNNING", {"t": "1"})


def test_many_threads_lose_nothing(recorder, server):
    threads, barrier = 16, threading.Barrier(16)

    def tell_one(number):
        barrier.wait()
        top = begin_run(recorder, EXPERIMENT, f"top-{number}", {})
        for step in range(50):
            top.metrics({"m": float(number)}, step=step)
        top.end("FINISHED")

    working = [threading.Thread(target=tell_one, args=(number,)) for number in range(threads)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    assert recorder.flush(SECONDS)
    for number in range(threads):
        [found] = server.runs.named(f"top-{number}")
        assert [(each["step"], each["value"]) for each in found["data"]["metrics"]] == [
            (step, float(number)) for step in range(50)
        ]


def test_a_journal_that_is_full_loses_what_comes_with_one_warning_and_keeps_what_it_has(make, server, log):
    recorder = make(spool_bytes=600)
    server.refuse = lambda path, trace_id: 503
    top = begin(recorder)
    for _ in range(20):
        top.text("x" * 100, "told.txt")
    assert ["cannot be kept" in each for each in log].count(True) == 1
    server.refuse = lambda path, trace_id: None
    arrive(recorder)
    assert server.runs.named("top")
    # There is room again.
    top.end("FINISHED")
    assert recorder.flush(SECONDS)
    assert server.runs.named("top")[0]["info"]["status"] == "FINISHED"


def test_a_journal_that_cannot_be_written_costs_one_warning_and_no_time(make, tmp_path, server, log):
    (tmp_path / "journal").write_text("a file where the folder would be")
    recorder = make()
    top = begin(recorder)
    tell(top)
    assert recorder.wait_for_run(top.key, 1e9) is None
    assert recorder.flush(1e9)
    recorder.stop(1e9)
    [told] = log
    assert "cannot be kept" in told
    assert server.asked == {}


def test_a_journal_that_somebody_deletes_costs_what_was_in_it_and_no_more(recorder, tmp_path, server, log):
    server.refuse = lambda path, trace_id: 503
    begin(recorder, "lost")
    for file in (tmp_path / "journal").glob("*.jsonl"):
        file.unlink()
    server.refuse = lambda path, trace_id: None
    arrive(recorder)
    tell(begin(recorder))
    assert recorder.flush(SECONDS)
    assert [run["info"]["run_name"] for run in server.runs.kept.values()] == ["top"]
    assert sum("was deleted" in each for each in log) == 1

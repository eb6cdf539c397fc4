"""The recorders of a process: one a store, each process with its own journal."""

import multiprocessing
import os
import stat
from pathlib import Path

import mlflow
import pytest

from mlflow_dspy_plugin.recording import runs
from mlflow_dspy_plugin.recording.runs import begin_run, install_recording, recorder_for
from tests.recording.conftest import EXPERIMENT, SECONDS, begin, facts, wait_for


def kept_in(folder):
    return sorted(path for path in folder.rglob("*.jsonl"))


def test_a_store_has_one_recorder(server):
    assert recorder_for(server.uri) is recorder_for(server.uri)
    assert recorder_for(server.uri) is not recorder_for(mlflow.get_tracking_uri())


def test_only_the_user_can_read_what_waits(server, tmp_path):
    server.refuse = lambda path, trace_id: 503
    recorder = recorder_for(server.uri)
    begin(recorder)
    [journal] = kept_in(tmp_path)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.parent.stat().st_mode) == 0o700
    recorder.stop(0)


def test_installing_sends_what_a_process_that_died_has_left_and_taking_it_back_waits_for_the_rest(server, make):
    server.refuse = lambda path, trace_id: 503
    died = recorder_for(server.uri)
    begin(died, "died").end("FINISHED")
    died.stop(0)
    runs._recorders.clear()
    server.refuse = lambda path, trace_id: None
    undo = install_recording(server.uri)
    wait_for(lambda: server.runs.named("died"))
    begin(recorder_for(server.uri), "mine").end("FINISHED")
    undo()
    assert [run["info"]["status"] for run in server.runs.kept.values()] == ["FINISHED"] * 2


def test_installing_where_nothing_was_left_asks_the_server_nothing(server):
    install_recording(server.uri)()
    assert server.asked == {}


def test_a_model_is_logged_from_a_folder_that_is_then_gone(store, tmp_path):
    recorder = recorder_for(mlflow.get_tracking_uri())
    top = begin_run(recorder, EXPERIMENT, "top", {})
    folders: list[Path] = []

    def save(folder):
        folders.append(folder)
        mlflow.pyfunc.save_model(folder, loader_module="json", pip_requirements=[])

    dataset = {"name": "valset", "digest": "1234abcd"}
    top.model(save, "best", step=3, scores=[("best_score", 75.0, 4)], dataset=dataset)
    assert recorder.flush(SECONDS)
    assert not folders[0].exists()
    [output] = mlflow.get_run(top.run_id).outputs.model_outputs
    model = mlflow.get_logged_model(output.model_id)
    assert (model.name, model.status, model.source_run_id, output.step) == ("best", "READY", top.run_id, 3)
    assert mlflow.models.get_model_info(model.model_uri).run_id == top.run_id
    [metric] = model.metrics
    assert (metric.key, metric.value, metric.step, metric.run_id) == ("best_score", 75.0, 4, top.run_id)
    assert (metric.dataset_name, metric.dataset_digest) == ("valset", "1234abcd")
    assert mlflow.get_run(top.run_id).data.metrics == {"best_score": 75.0}


def test_a_model_that_cannot_be_saved_is_the_caller_s_to_know_and_costs_the_run_nothing(server):
    recorder = recorder_for(server.uri)
    top = begin(recorder)

    def save(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        top.model(save, "best")
    top.end("FINISHED")
    assert recorder.flush(SECONDS)
    assert server.runs.named("top")[0]["info"]["status"] == "FINISHED"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_writes_its_own_runs_and_none_of_its_parent_s(server):
    undo = install_recording(server.uri)
    recorder = recorder_for(server.uri)
    server.refuse = lambda path, trace_id: 503
    parent = begin(recorder, "parent")

    def work():
        # It sends what it has when it ends, which multiprocessing does without `atexit`.
        begin(recorder_for(server.uri), "child").end("FINISHED")

    child = multiprocessing.get_context("fork").Process(target=work)
    server.refuse = lambda path, trace_id: None
    child.start()
    child.join(SECONDS)
    assert child.exitcode == 0
    parent.tags({"t": "1"})
    parent.end("FINISHED")
    undo()
    wait_for(lambda: recorder.flush(1))
    [own], [forked] = server.runs.named("parent"), server.runs.named("child")
    assert own["info"]["status"] == forked["info"]["status"] == "FINISHED"
    assert facts(own, "tags") == {"t": "1"}

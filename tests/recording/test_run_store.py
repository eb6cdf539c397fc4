"""What operations do in a real store, and that each may be done again."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest
from mlflow import MlflowClient

from mlflow_dspy_plugin.names import TAG_RUN_KEY
from mlflow_dspy_plugin.recording.plan import planned
from mlflow_dspy_plugin.recording.run_store import RunStore, existing
from mlflow_dspy_plugin.seams.refusals import Kind

AT = 1_000_000_000.0


def operation(do, run="a", **values):
    return {"do": do, "run": run, "experiment": "1", **values}


def begin(run="a", **values):
    return operation("begin", run, name=f"run {run}", tags={"mine": "1"}, at=AT, parent=None, **values)


@pytest.fixture
def runs(store):
    return RunStore(mlflow.get_tracking_uri())


def do(runs, *operations):
    """Do what was put one after the other; what was refused."""
    lines = [json.dumps(each).encode() for each in operations]
    return [refusal for each in planned(lines) if (refusal := runs.do(each)) is not None]


def kept(runs, key="a"):
    return MlflowClient().get_run(runs.run_id(key))


def test_a_run_has_all_that_was_said_of_it(runs):
    dataset = {"name": "d", "digest": "1", "source_type": "code", "source": "{}", "schema": "{}", "profile": "{}"}
    told = [
        begin(),
        operation("params", params={f"p{i}": str(i) for i in range(250)}),
        operation("metrics", metrics=[["m", float(i), 1, i] for i in range(1700)]),
        operation("metrics", metrics=[["m", 5000.0, 2, 5000]]),
        operation("tags", tags={"t": "old"}),
        operation("tags", tags={"t": "new"}),
        operation("inputs", dataset=dataset, context="train"),
        operation("text", text="ä", file="folder/text.txt"),
        operation("end", status="FAILED", at=AT + 1),
    ]
    assert do(runs, *told) == []
    run = kept(runs)
    assert (run.info.run_name, run.info.status) == ("run a", "FAILED")
    assert (run.info.start_time, run.info.end_time) == (AT * 1000, (AT + 1) * 1000)
    assert run.data.params == {f"p{i}": str(i) for i in range(250)}
    assert (run.data.tags["mine"], run.data.tags["t"], run.data.tags[TAG_RUN_KEY]) == ("1", "new", "a")
    history = MlflowClient().get_metric_history(run.info.run_id, "m")
    assert [each.step for each in history] == [*range(1700), 5000]
    [used] = run.inputs.dataset_inputs
    assert (used.dataset.name, used.tags[0].value) == ("d", "train")
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/folder/text.txt") == "ä"


def test_all_of_it_done_again_by_another_process_changes_nothing(runs):
    told = [
        begin(),
        operation("params", params={"p": "1"}),
        operation("metrics", metrics=[["m", 1.0, 1, 0]]),
        operation("text", text="t", file="t.txt"),
        operation("end", status="FINISHED", at=AT + 1),
    ]
    other = RunStore(mlflow.get_tracking_uri())
    assert do(runs, *told) == do(other, *({**each, "again": True} for each in told)) == []
    assert len(mlflow.search_runs(output_format="list")) == 1
    assert other.run_id("a") == runs.run_id("a")
    run = kept(runs)
    assert (run.data.params, run.info.status) == ({"p": "1"}, "FINISHED")
    assert len(MlflowClient().get_metric_history(run.info.run_id, "m")) == 1


def test_a_run_of_another_process_is_found_by_its_key(runs):
    do(runs, begin())
    other = RunStore(mlflow.get_tracking_uri())
    assert do(other, operation("tags", tags={"t": "1"}), {**begin("b"), "parent": "a"}) == []
    assert kept(runs).data.tags["t"] == "1"
    assert kept(other, "b").data.tags["mlflow.parentRunId"] == runs.run_id("a")


def test_a_run_that_was_there_before_is_known_by_its_id(runs):
    with mlflow.start_run() as mine:
        mlflow.log_param("p", "mine")
    key = existing(mine.info.run_id)
    assert runs.run_id(key) == mine.info.run_id
    assert do(runs, operation("text", key, text="t", file="t.txt")) == []
    assert MlflowClient().list_artifacts(mine.info.run_id)[0].path == "t.txt"


def test_a_parameter_that_a_run_has_keeps_its_value_and_the_others_are_logged(runs):
    do(runs, begin(), operation("params", params={"p": "1"}))
    again = operation("params", params={"p": "2", "q": "1"})
    [refusal] = do(runs, again)
    assert refusal.kind is Kind.REJECTED
    # Alone it is done with care.
    assert runs.do(again) is None
    assert kept(runs).data.params == {"p": "1", "q": "1"}


def test_a_text_has_the_ids_of_the_runs_that_it_names(runs):
    keys = {"b": "b" * 32, "c": "c" * 32, "d": "d" * 32}
    do(runs, begin(), begin(keys["b"]))
    do(RunStore(mlflow.get_tracking_uri()), begin(keys["c"]))
    text = json.dumps(list(keys.values()))
    assert do(runs, operation("text", text=text, file="t.json", named=list(keys.values()))) == []
    found = mlflow.artifacts.load_dict(f"{kept(runs).info.artifact_uri}/t.json")
    assert [MlflowClient().get_run(each).info.run_name for each in found[:2]] == [
        f"run {keys['b']}",
        f"run {keys['c']}",
    ]
    assert found[2] == keys["d"]


@pytest.mark.parametrize(
    "told",
    [
        operation("tags", "unknown", tags={"t": "1"}),
        operation("later", option=1),
        operation("text"),
        begin(experiment="7"),
    ],
    ids=[
        "a run that was never made",
        "a kind of another release",
        "fields that are missing",
        "an experiment there is not",
    ],
)
def test_what_cannot_be_done_is_rejected_and_raises_nothing(told, runs):
    do(runs, begin())
    assert runs.do(told).kind is Kind.REJECTED


def test_an_experiment_is_known_by_its_name_and_made_if_there_is_none(runs):
    assert do(runs, begin("a", experiment="name:tests"), begin("b", experiment="name:new")) == []
    assert kept(runs, "a").info.experiment_id == "1"
    assert MlflowClient().get_experiment(kept(runs, "b").info.experiment_id).name == "new"
    other = RunStore(mlflow.get_tracking_uri())
    told = operation("tags", "b", tags={"t": "1"})
    assert do(other, {**told, "experiment": "name:new"}) == []
    assert kept(runs, "b").data.tags["t"] == "1"


def test_an_experiment_that_several_processes_make_at_once_loses_no_run(store):
    several = [RunStore(mlflow.get_tracking_uri()) for _ in range(4)]
    for number in range(10):
        together = threading.Barrier(len(several))

        def begin_in(runs, number=number, together=together):
            together.wait()
            return do(runs, begin(f"{number}", experiment=f"name:new {number}"))

        with ThreadPoolExecutor(len(several)) as threads:
            assert list(threads.map(begin_in, several)) == [[]] * len(several)
        assert len({kept(runs, f"{number}").info.experiment_id for runs in several}) == 1

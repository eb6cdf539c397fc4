"""What lines of a journal say is done in an order that keeps its sense, with as few operations as may be."""

import json

import pytest

from mlflow_dspy_plugin.recording.plan import planned
from mlflow_dspy_plugin.recording.run_store import existing


def line(do, run="a", **values):
    return json.dumps({"do": do, "run": run, "experiment": "1", **values}).encode() + b"\n"


def kinds(plan):
    return [(operation["do"], operation["run"]) for operation in plan]


def test_runs_begin_in_order_before_anything_is_said_of_them_and_end_when_all_is_said():
    lines = [
        line("begin"),
        line("inputs"),
        line("begin", "b", parent="a"),
        line("end", "b"),
        line("model"),
        line("end"),
        line("traces", "b"),
    ]
    assert kinds(planned(lines)) == [
        ("begin", "a"),
        ("begin", "b"),
        ("inputs", "a"),
        ("model", "a"),
        ("traces", "b"),
        ("end", "b"),
        ("end", "a"),
    ]


def test_params_metrics_and_tags_of_a_run_are_one_operation():
    lines = [
        line("params", params={"p": "1"}),
        line("metrics", "b", metrics=[["m", 0.0, 0, 0]]),
        line("metrics", metrics=[["m", 1.0, 0, 0]]),
        line("text", file="f", text="t"),
        line("tags", tags={"t": "1"}),
    ]
    plan = planned(lines)
    assert kinds(plan) == [("log", "a"), ("log", "b"), ("text", "a")]
    assert [part["do"] for part in plan[0]["parts"]] == ["params", "metrics", "tags"]
    assert [part["metrics"] for part in plan[1]["parts"]] == [[["m", 0.0, 0, 0]]]


def test_of_a_text_that_was_written_anew_the_last_is_left():
    lines = [line("text", file="f", text="old"), line("text", file="g", text="g"), line("text", file="f", text="new")]
    assert [(each["file"], each["text"]) for each in planned(lines)] == [("f", "new"), ("g", "g")]
    other = line("text", "b", file="f", text="other")
    assert len(planned([lines[0], other])) == 2


@pytest.mark.parametrize(
    "foreign", [b"", b"half a li", b"[1]\n", b'"text"\n', b"null\n", b'{"do": "end"}\n', b"\xff\n"]
)
def test_what_is_no_operation_is_left_out(foreign):
    assert kinds(planned([line("begin"), foreign, line("end")])) == [("begin", "a"), ("end", "a")]


def test_the_runs_of_who_was_killed_are_ended():
    there_before = f"{existing('1f')}"
    lines = [line("begin"), line("begin", "b"), line("text", there_before, file="f", text="t"), line("end", "b")]
    plan = planned(lines, by_the_dead=True)
    assert kinds(plan)[-2:] == [("end", "b"), ("end", "a")]
    assert plan[-1]["status"] == "KILLED"
    assert ("end", there_before) not in kinds(plan)

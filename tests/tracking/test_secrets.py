"""Keys are in no run and in no assessment, wherever they come from; what the user wants out of sight neither."""

import sqlite3
from contextlib import closing

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.recording.runs import flush
from tests.fakes.openai_server import Fault, OpenAIServer
from tests.tracking.conftest import KEY
from tests.tracking.test_compile import Own, right, student

# In the environment, in an assignment, in a header, and in an LM that its provider echoes; without a form of their own.
BY_ENVIRONMENT = "-".join(["purple", "zebra", "9041"])
BY_ASSIGNMENT = "-".join(["green", "otter", "7352"])
BY_HEADER = "-".join(["orange", "lemur", "1187"])
BY_ECHO = "-".join(["silver", "tapir", "6620"])


def everything_stored(store) -> str:
    """All text of the tracking store, and of its artifacts."""
    assert flush(30)
    mlflow.flush_trace_async_logging()
    with closing(sqlite3.connect(store)) as connection:
        told = "\n".join(connection.iterdump())
    files = [path for path in (store.parent / "artifacts").rglob("*") if path.is_file()]
    return told + "".join(path.read_bytes().decode("utf-8", "replace") for path in files)


def examples():
    one = dspy.Example(question="1", answer="a", api_key=KEY).with_inputs("question")
    two = dspy.Example(question=f"is it {BY_ENVIRONMENT}?", answer=f'password="{BY_ASSIGNMENT}"').with_inputs(
        "question"
    )
    return [one, two, dspy.Example(question="3", answer=None).with_inputs("question")]


def test_no_key_is_in_what_is_written(store, monkeypatch):
    monkeypatch.setenv("ZOO_API_KEY", BY_ENVIRONMENT)
    with OpenAIServer({"bears": lambda messages, body: Fault(400, "You sent {key}.")}) as server:
        lm = dspy.LM("openai/bears", api_base=server.base_url, api_key=BY_ECHO, num_retries=0, cache=False)
        program = student()
        program.lm = dspy.LM(
            "openai/bears",
            api_base=server.base_url,
            api_key=BY_ECHO,
            headers={"X-Zoo": BY_HEADER},
            num_retries=0,
            cache=False,
        )
        program.signature = program.signature.with_instructions(f"Say {BY_ENVIRONMENT} to nobody.")
        mlflow.dspy.autolog(log_compiles=True, log_evals=True)
        with dspy.context(lm=lm):
            Own(rounds=1).compile(program, trainset=examples())
            dspy.Evaluate(devset=examples(), metric=right, max_errors=100)(program)
    told = everything_stored(store)
    assert "Say [REDACTED] to nobody." in told
    found = {
        name
        for name, key in {
            "field": KEY,
            "env": BY_ENVIRONMENT,
            "text": BY_ASSIGNMENT,
            "header": BY_HEADER,
            "echo": BY_ECHO,
        }.items()
        if key in told
    }
    assert not found


def evaluated(store, **options) -> tuple[str, list]:
    """What is stored after an evaluation whose metric gives feedback, and the assessments of its traces."""
    mlflow.dspy.autolog(log_evals=True, **options)
    devset = [dspy.Example(question="1", answer="of P-654321").with_inputs("question")]
    metric = lambda example, prediction: dspy.Prediction(score=1.0, feedback="patient P-123456")  # noqa: E731
    dspy.Evaluate(devset=devset, metric=metric)(student())
    told = everything_stored(store)
    [trace] = mlflow.search_traces(return_type="list")
    return told, trace.info.assessments


def test_what_the_user_redacts_is_in_no_run_and_no_assessment(store):
    told, assessments = evaluated(store, redact=r"\bP-\d{6}\b")
    assert "P-654321" not in told
    assert "P-123456" not in told
    assert {each.name: each.rationale or each.value for each in assessments} == {
        "<lambda>": "patient [REDACTED]",
        "answer": "of [REDACTED]",
    }


def test_assessments_of_traces_without_content_have_none(store):
    _, assessments = evaluated(store, capture_content=False)
    assert {each.name: each.rationale or each.value for each in assessments} == {
        "<lambda>": "[text of 16 characters]",
        "answer": "[text of 11 characters]",
    }


@pytest.mark.parametrize("score", [None, float("nan")])
def test_a_row_without_an_expected_value_or_a_score_has_its_feedback(score, store, caplog):
    mlflow.dspy.autolog(log_evals=True)
    devset = [dspy.Example(question="1", answer=None, label="x").with_inputs("question")]
    with pytest.raises(TypeError) if score is None else pytest.MonkeyPatch.context():
        dspy.Evaluate(devset=devset, metric=lambda example, prediction: score)(student())
    everything_stored(store)
    [trace] = mlflow.search_traces(return_type="list")
    feedback, expectation = sorted(trace.info.assessments, key=lambda each: each.name)
    assert "no score" in feedback.error.error_message
    assert (expectation.name, expectation.value) == ("label", "x")
    assert "failed" not in caplog.text

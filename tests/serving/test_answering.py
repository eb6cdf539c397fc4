"""Requests of MLflow's scoring server, answered in an event loop: each as MLflow itself would answer it."""

import asyncio
import json

import dspy
import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations

from mlflow_dspy_plugin.serving.answering import Answering
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401

JSON = "application/json"
CHAT = {"messages": [{"role": "user", "content": "why?"}]}
QA = dspy.Predict("question -> answer")
TWO = dspy.Predict("question, hint: str | None = None -> answer")
COUNT = dspy.Predict("question, times: int -> answer")
# Programs and options -> bodies.
CASES = {
    "texts": (
        (QA, {}),
        [
            {"dataframe_records": [{"question": "why?"}]},
            {"dataframe_records": [{"question": "why?"}, {"question": "who?"}]},
            {"dataframe_records": [{"question": "why?", "other": "x"}]},
            {"dataframe_records": [{"question": None}]},
            {"dataframe_records": [{"question": 1}]},
            {"dataframe_records": [{}]},
            {"dataframe_records": []},
            {"dataframe_records": {"question": "why?"}},
            {"dataframe_split": {"columns": ["question"], "data": [["why?"]]}},
            {"inputs": {"question": "why?"}},
            {"inputs": {"question": ["why?", "who?"]}},
            {"inputs": [{"question": "why?"}]},
            {"inputs": "why?"},
            {"instances": [{"question": "why?"}]},
            {"inputs": {"question": "why?"}, "params": {"temperature": 0.1}},
            {"inputs": {"question": "why?"}, "params": {"temperature": "hot"}},
            {"inputs": {"question": "why?"}, "params": {"unknown": 1}},
            {"inputs": {"question": "why?"}, "params": [1]},
            {"inputs": {"question": "why?"}, "params": None},
            {"inputs": {"question": "why?"}, "dataframe_records": [{"question": "why?"}]},
            {"inputs": {"question": "why?"}, "id": 7},
            {"nothing": 1},
            {},
            [],
        ],
    ),
    "several": (
        (TWO, {"input_example": {"question": "why?", "hint": "look"}}),
        [{"dataframe_records": [{"question": "why?"}]}, {"inputs": {"question": "why?", "hint": "look"}}],
    ),
    "numbers": (
        (COUNT, {}),
        [{"inputs": {"question": "why?", "times": 2}}, {"inputs": {"question": "x", "times": "y"}}],
    ),
    "bare": (
        (QA, {"input_example": "why?"}),
        [{"inputs": ["why?"]}, {"inputs": "why?"}, {"inputs": {"question": "why?"}}],
    ),
    "chat": ((QA, {"task": "llm/v1/chat"}), [CHAT, {"messages": []}, {"inputs": CHAT}]),
    "agent": ((QA, {"task": "agent/v1/responses"}), [{"input": CHAT["messages"]}, {"input": []}]),
}


@pytest.fixture
def loaded(request):
    """A program as a model."""
    (program, options), _ = CASES[request.param]
    with dspy.context(lm=scripted_lm(lambda messages: {"answer": "bear"})):
        mlflow.dspy.save_model(program, "model", **options)
    return mlflow.pyfunc.load_model("model")


def told(answer) -> tuple:
    """The answer, or the status and the last line of the error, without what is new in each."""
    try:
        found = json.loads(answer())
    except MlflowException as error:
        return error.get_http_status_code(), error.message.rpartition("Error: ")[2]
    return without_new(found)


def without_new(told):
    """What two answers to one request have in common."""
    if isinstance(told, list):
        return list(map(without_new, told))
    new = ("id", "created", "created_at")
    return (
        {key: without_new(value) for key, value in told.items() if key not in new} if isinstance(told, dict) else told
    )


@pytest.mark.parametrize(
    ("loaded", "body"),
    [
        pytest.param(name, body, id=f"{name}-{place}")
        for name, (_, bodies) in CASES.items()
        for place, body in enumerate(bodies)
    ],
    indirect=["loaded"],
)
def test_it_answers_as_mlflow_s_server_does(loaded, body):
    sent = json.dumps(body).encode()
    answering = Answering(loaded._model_impl, loaded.metadata, 4, 4)
    theirs = told(lambda: invocations(sent, JSON, loaded, loaded.metadata.get_input_schema()).response)
    assert told(lambda: asyncio.run(answering.text(sent, JSON))) == theirs


@pytest.mark.parametrize("loaded", ["texts"], indirect=True)
@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"{}", "application/json; charset=latin-1", 415),
        (b"{", JSON, 400),
        (b"\xff\xfe", JSON, 400),
        (b"", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b'{"inputs":' * 50_000, JSON, 400),
    ],
)
def test_what_cannot_be_read_is_the_fault_of_whoever_sent_it(loaded, body, content_type, status):
    answering = Answering(loaded._model_impl, loaded.metadata, 4, 4)
    with pytest.raises(MlflowException) as refused:
        asyncio.run(answering.text(body, content_type))
    assert refused.value.get_http_status_code() == status


@pytest.mark.parametrize("loaded", ["texts"], indirect=True)
@pytest.mark.parametrize("rows", [1, 3])
def test_other_formats_are_answered_too(loaded, rows):
    sent = b"question\n" + b"why?\n" * rows
    theirs = invocations(sent, "text/csv", loaded, loaded.metadata.get_input_schema()).response
    answering = Answering(loaded._model_impl, loaded.metadata, 4, 4)
    assert asyncio.run(answering.text(sent, "text/csv; charset=utf-8")) == theirs

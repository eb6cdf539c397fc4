"""An answer tells the trace that it was made in, where it is asked to."""

import json

import dspy
import mlflow
import pandas as pd
import pytest

from tests.fakes.scripted import scripted_lm

QUESTIONS = ["one", "two", "three", "four", "five"]
TABLE = pd.DataFrame({"question": QUESTIONS})


@pytest.fixture
def model():
    dspy.configure(lm=scripted_lm({"answer": "bear"}))
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model")
    dspy.configure(lm=None)
    return mlflow.pyfunc.load_model("model")


def test_every_row_tells_its_own(model):
    mlflow.dspy.autolog()
    ids = list(model.predict(TABLE, params={"return_trace_id": True})["trace_id"])
    assert [json.loads(mlflow.get_trace(each).data.request)["question"] for each in ids] == QUESTIONS


def test_without_traces_there_is_none_to_tell(model):
    assert list(model.predict(TABLE, params={"return_trace_id": True})["trace_id"]) == [None] * 5
    assert "trace_id" not in model.predict(TABLE)

"""Several rows in one request: answered side by side, in order, each failing for itself where that is asked for."""

import enum
import json
import threading
import time
from typing import Literal

import dspy
import mlflow
import numpy as np
import pandas as pd
import pydantic
import pytest
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations

from mlflow_dspy_plugin.errors import CallError, InputError, SettingError
from tests.fakes.scripted import Answer, scripted_lm
from tests.packaging.no_store import store  # noqa: F401

QUESTIONS = ["one", "two", "three", "four", "five"]
ANSWERS = [{"answer": f"re: {question}"} for question in QUESTIONS]


def replying(messages) -> dict:
    """Repeats the question; the later ones are answered sooner."""
    content = messages[-1]["content"]
    question = next(question for question in QUESTIONS if question in content)
    return Answer({"answer": f"re: {question}"}, latency=0.05 / (1 + QUESTIONS.index(question)))


def served(program=None, lm=None, **options):
    dspy.configure(lm=lm or scripted_lm(replying))
    mlflow.dspy.save_model(program or dspy.Predict("question -> answer"), "model", **options)
    dspy.configure(lm=None)
    return mlflow.pyfunc.load_model("model")


@pytest.mark.parametrize(
    ("rows", "example"),
    [
        (QUESTIONS, "one"),
        (np.array(QUESTIONS), "one"),
        ([{"question": question} for question in QUESTIONS], {"question": "one"}),
        ([{"question": question} for question in QUESTIONS], None),
        (pd.DataFrame({"question": QUESTIONS}), None),
        (pd.DataFrame({"question": QUESTIONS}), "one"),
        (pd.Series(QUESTIONS, name="question"), None),
        ({"question": np.array(QUESTIONS)}, None),
    ],
    ids=["texts", "array", "dicts", "dicts without example", "table", "table of texts", "series", "dict of arrays"],
)
def test_rows_in_every_form_that_mlflow_lets_through_are_answered_in_order(rows, example):
    answers = served(input_example=example).predict(rows)
    assert answers.to_dict("records") == ANSWERS


@pytest.mark.parametrize(
    "rows",
    [
        QUESTIONS,
        tuple(QUESTIONS),
        np.array(QUESTIONS),
        np.array(QUESTIONS)[:, None],
        [{"question": q} for q in QUESTIONS],
    ],
    ids=["texts", "tuple", "array", "column", "dicts"],
)
def test_without_a_schema_a_list_is_answered_by_a_list(rows):
    assert served()._model_impl.predict(rows) == ANSWERS


def test_the_answers_of_a_table_have_its_index():
    table = pd.DataFrame({"question": QUESTIONS}, index=[7, 3, 3, 9, 1])
    assert list(served().predict(table).index) == [7, 3, 3, 9, 1]


def test_the_answers_of_a_series_have_its_index():
    series = pd.Series(QUESTIONS, index=list("abcde"))
    assert served(Says())._model_impl.predict(series).to_dict() == dict(zip("abcde", QUESTIONS, strict=True))


def test_the_scoring_server_answers_rows_in_order():
    model = served()
    body = json.dumps({"dataframe_records": [{"question": question} for question in QUESTIONS]})
    response = invocations(body, CONTENT_TYPE_JSON, model, model.metadata.get_input_schema())
    assert json.loads(response.response) == {"predictions": ANSWERS}


class Says(dspy.Module):
    """Returns what it is asked, and raises at what it is told to."""

    def __init__(self, fails=()):
        super().__init__()
        self.fails = list(fails)

    def forward(self, question: str):
        if question in self.fails:
            raise ValueError("no such bear")
        return question


class Meets(dspy.Module):
    """Waits until as many calls are under way as are said to be at once."""

    def __init__(self, together):
        super().__init__()
        self.together, self.most, self.running = together, 0, 0

    def forward(self, question: str):
        self.running += 1
        self.most = max(self.most, self.running)
        deadline = time.monotonic() + 10
        while self.most < self.together and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)
        self.running -= 1
        return question


@pytest.mark.parametrize("by", ["environment", "settings"])
def test_as_many_rows_are_answered_at_a_time_as_are_said(by, monkeypatch):
    if by == "environment":
        monkeypatch.setenv("MLFLOW_DSPY_PREDICT_THREADS", "3")
    else:
        dspy.configure(num_threads=3)
    model = served(Meets(together=3))._model_impl
    assert model.predict([str(number) for number in range(9)]) == [str(number) for number in range(9)]
    assert model.model.most == 3


def test_a_number_of_threads_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_PREDICT_THREADS", "many")
    with pytest.raises(SettingError, match="MLFLOW_DSPY_PREDICT_THREADS is 'many'. Set it to a whole number"):
        served()._model_impl.predict(QUESTIONS)


class CountsThreads(dspy.Module):
    def forward(self, question: str):
        return threading.active_count()


def test_a_large_batch_starts_few_threads_and_leaves_none():
    model, before = served(CountsThreads())._model_impl, threading.active_count()
    counts = model.predict([str(number) for number in range(5_000)])
    assert before < max(counts) <= before + dspy.settings.num_threads
    assert threading.active_count() == before


def test_a_row_that_fails_raises_for_the_batch_and_names_itself_and_the_cause():
    model = served(Says(fails=["three"]))
    with pytest.raises(
        CallError, match=r"Row 2 of 5 \(index 30\): the program raised ValueError: no such bear"
    ) as raised:
        model.predict(pd.DataFrame({"question": QUESTIONS}, index=[10, 20, 30, 40, 50]))
    assert isinstance(raised.value.__cause__, ValueError)
    assert raised.value.error_code == "INTERNAL_ERROR"


class FailsFirst(dspy.Module):
    """Raises at the first row, and notes which were begun."""

    def __init__(self):
        super().__init__()
        self.begun = []

    def forward(self, question: str):
        self.begun.append(question)
        if question == "0":
            raise ValueError("the first")
        time.sleep(0.05)
        return question


def test_no_row_is_begun_once_one_has_failed():
    model = served(FailsFirst())._model_impl
    dspy.configure(num_threads=2)
    with pytest.raises(CallError, match="Row 0 of 100"):
        model.predict([str(number) for number in range(100)])
    assert 1 <= len(model.model.begun) < 10


def test_a_row_that_fails_can_be_answered_by_its_error():
    model = served(dspy.Predict("question -> answer"), scripted_lm(failing_at("three")))
    answers = model.predict(pd.DataFrame({"question": QUESTIONS}), params={"on_error": "row"})
    assert list(answers["answer"]) == ["re: one", "re: two", None, "re: four", "re: five"]
    assert list(answers["error"].isna()) == [True, True, False, True, True]
    assert "Row 2 of 5" in answers["error"][2]
    assert "the bear has left" in answers["error"][2]


def failing_at(question):
    def reply(messages):
        if question in messages[-1]["content"]:
            return ValueError("the bear has left")
        return replying(messages)

    return reply


def test_one_row_can_be_answered_by_its_error_too():
    model = served(Says(fails=["x"]))
    assert model.predict({"question": "x"}, params={"on_error": "row"}) == {
        "error": "The program raised ValueError: no such bear"
    }
    assert model.predict({"question": "y"}, params={"on_error": "row"}) == {"output": "y", "error": None}


def test_rows_of_other_fields_fail_for_themselves():
    rows = [{"question": "one"}, {"query": "two"}]
    model = served()._model_impl
    with pytest.raises(InputError, match=r"Row 1 of 2: The input has the fields \['query'\]"):
        model.predict(rows)
    answers = model.predict(rows, {"on_error": "row"})
    assert answers[0] == {"answer": "re: one", "error": None}
    assert "unknown: query" in answers[1]["error"]


def test_another_on_error_is_refused():
    with pytest.raises(InputError, match="The param 'on_error' is 'skip'; it can be raise or row"):
        served().predict({"question": "one"}, params={"on_error": "skip"})


def test_an_output_of_the_name_of_what_is_added_is_not_overwritten():
    model = served(dspy.Predict("question -> error"), scripted_lm({"error": "mine"}))
    assert model.predict({"question": "one"}) == {"error": "mine"}
    with pytest.raises(InputError, match="The program has an output error of its own"):
        model.predict({"question": "one"}, params={"on_error": "row"})


@pytest.mark.parametrize("rows", [[], pd.DataFrame({"question": []}), np.array([]), pd.Series([], dtype=object)])
def test_a_batch_without_rows_is_refused(rows):
    with pytest.raises(InputError, match="has no rows. Give at least one"):
        served()._model_impl.predict(rows)


def test_a_field_that_some_rows_leave_out_is_left_out_of_their_calls():
    class Noting(dspy.Module):
        def __init__(self):
            super().__init__()
            self.calls = []

        def forward(self, question: str, note: str = "none"):
            return {"note": note}

    table = pd.DataFrame([{"question": "one", "note": "mine"}, {"question": "two"}])
    assert list(served(Noting()).predict(table)["note"]) == ["mine", "none"]


class Bear(enum.Enum):
    BLACK = "black"


class Cub(pydantic.BaseModel):
    name: str


class Typed(dspy.Signature):
    question: str = dspy.InputField()
    count: int = dspy.OutputField()
    share: float = dspy.OutputField()
    names: list[str] = dspy.OutputField()
    kind: Literal["a", "b"] = dspy.OutputField()
    bear: Bear = dspy.OutputField()
    cub: Cub = dspy.OutputField()


def test_typed_answers_of_rows_are_values_that_json_has():
    answer = {"count": 3, "share": 0.5, "names": ["x"], "kind": "a", "bear": "black", "cub": {"name": "Bo"}}
    answers = served(dspy.Predict(Typed), scripted_lm(answer)).predict(pd.DataFrame({"question": ["one", "two"]}))
    assert answers.to_dict("records") == [answer, answer]
    assert (answers["count"].dtype, answers["share"].dtype) == ("int64", "float64")


class TellsItsSettings(dspy.Module):
    def forward(self, question: str):
        return {"temperature": dspy.settings.lm.kwargs["temperature"], "thread": threading.get_ident()}


def test_rows_share_the_settings_of_the_model_and_of_the_request():
    model = served(TellsItsSettings(), scripted_lm(replying, temperature=0.5))
    answers = model.predict(pd.DataFrame({"question": QUESTIONS}), params={"temperature": 0.1})
    assert set(answers["temperature"]) == {0.1}
    assert threading.get_ident() not in set(answers["thread"])

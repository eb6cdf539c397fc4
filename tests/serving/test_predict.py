"""A saved program behind `mlflow.pyfunc`: one row in whatever form, a dict of the output fields out."""

import asyncio
import copy
import enum
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Optional

import dspy
import mlflow
import numpy as np
import pandas as pd
import pydantic
import pytest
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations

from mlflow_dspy_plugin.errors import CallError, InputError
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401


def served(program: dspy.Module, answer=None, **options):
    """The program as a pyfunc model whose LM gives the one answer."""
    dspy.configure(lm=scripted_lm(answer or {"reasoning": "why", "answer": "bear"}))
    mlflow.dspy.save_model(program, "model", **options)
    dspy.configure(lm=None)
    return mlflow.pyfunc.load_model("model")


def last_prompt(model) -> str:
    """What the LM of a served model was asked last."""
    lm = model._model_impl._settings["lm"]
    return lm.script.requests[-1][-1]["content"]


WHAT = "What kind of bear is best?"
ONE_INPUT = {
    "text": WHAT,
    "dict": {"question": WHAT},
    "table": pd.DataFrame([{"question": WHAT}]),
    "list of a dict": [{"question": WHAT}],
}


@pytest.mark.parametrize("example", [WHAT, {"question": WHAT}, None], ids=["text", "dict", "none"])
def test_a_program_of_one_input_answers_in_every_form_its_example_allows(example):
    """With a text as example all forms are taken; with named columns MLflow itself refuses the bare text."""
    model = served(dspy.ChainOfThought("question -> answer"), input_example=example)
    forms = dict(ONE_INPUT) if isinstance(example, str) else {k: v for k, v in ONE_INPUT.items() if k != "text"}
    for form, value in forms.items():
        assert model.predict(value) == {"reasoning": "why", "answer": "bear"}, form
        assert WHAT in last_prompt(model), form


def test_a_text_logged_model_also_takes_what_wraps_one_text():
    model = served(dspy.Predict("question -> answer"), input_example=WHAT)
    for value in (pd.DataFrame([WHAT]), [WHAT], np.array([WHAT]), pd.Series([WHAT])):
        try:
            answer = model.predict(value)
        except mlflow.MlflowException as error:
            assert "Failed to enforce schema" in str(error)
            continue
        assert answer == {"answer": "bear"}
        assert WHAT in last_prompt(model)


class Person(pydantic.BaseModel):
    name: str
    age: int = 3


BO = {"name": "Bo", "age": 3}


class Many(dspy.Signature):
    """Fill everything in."""

    count: int = dspy.InputField()
    ratio: float = dspy.InputField()
    flag: bool = dspy.InputField()
    words: list[str] = dspy.InputField()
    person: Person = dspy.InputField()
    counts: dict[str, int] = dspy.InputField()
    note: Optional[str] = dspy.InputField()  # noqa: UP045
    kind: Literal["a", "b"] = dspy.OutputField()
    total: int = dspy.OutputField()
    names: list[str] = dspy.OutputField()
    boss: Person = dspy.OutputField()
    when: Optional[str] = dspy.OutputField()  # noqa: UP045


INPUTS = {
    "count": 3,
    "ratio": 0.5,
    "flag": True,
    "words": ["x", "y"],
    "person": {"name": "Ann", "age": 4},
    "counts": {"x": 1},
    "note": "hi",
}
ANSWER = {"kind": "a", "total": 7, "names": ["p", "q"], "boss": {"name": "Bo", "age": 9}, "when": "now"}


class Recorder(dspy.Module):
    """Notes the arguments it is called with."""

    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict(Many)
        self.calls = []

    def forward(
        self,
        count: int,
        ratio: float,
        flag: bool,
        words: list[str],
        person: Person,
        counts: dict[str, int],
        note: str = "none",
    ):
        arguments = locals()
        self.calls.append({name: arguments[name] for name in INPUTS})
        return self.predict(**self.calls[-1])


@pytest.mark.parametrize("form", ["dict", "table", "list"])
def test_a_program_of_many_typed_inputs_gets_what_they_declare(form):
    # Copies: MLflow's check of the schema changes nested values where they are.
    model = served(Recorder(), ANSWER, input_example=copy.deepcopy(INPUTS))
    row = copy.deepcopy(INPUTS)
    value = {"dict": row, "table": pd.DataFrame([row]), "list": [row]}[form]
    assert model.predict(value) == ANSWER
    (call,) = model._model_impl.model.calls
    assert isinstance(call["person"], pydantic.BaseModel)
    call["person"] = call["person"].model_dump()
    assert call == INPUTS
    assert types_of(call) == types_of(INPUTS)


def test_integers_beside_floats_stay_integers():
    class Two(dspy.Module):
        def forward(self, count: int, ratio: float):
            return f"{count!r} {ratio!r}"

    assert served(Two()).predict({"count": 3, "ratio": 0.5}) == "3 0.5"


@pytest.mark.parametrize("program", [Recorder, lambda: dspy.Predict(Many)], ids=["default", "may be None"])
def test_an_input_that_may_be_left_out_is_left_out(program):
    model = served(program(), ANSWER)
    row = copy.deepcopy(INPUTS)
    del row["note"]
    assert model.predict(row) == ANSWER


def types_of(value):
    """The type of a value and of all that it holds."""
    if isinstance(value, dict):
        return {key: types_of(item) for key, item in value.items()}
    return [types_of(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("body", [{"inputs": INPUTS}, {"dataframe_records": [INPUTS]}, {"inputs": [INPUTS]}])
def test_typed_inputs_and_outputs_pass_through_the_scoring_server(body):
    model = served(dspy.Predict(Many), ANSWER, input_example=copy.deepcopy(INPUTS))
    schema = model.metadata.get_input_schema()
    response = invocations(json.dumps(body), CONTENT_TYPE_JSON, model, schema)
    assert (response.status, json.loads(response.response)["predictions"]) == (200, ANSWER)


class Bear(enum.Enum):
    BLACK = "black"


class Returns(dspy.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, question: str):
        return self.value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ({"a": 1}, {"a": 1}),
        (None, None),
        (["a", "b"], ["a", "b"]),
        (dspy.Prediction(answer="x", score=1), {"answer": "x", "score": 1}),
        (dspy.Prediction(bear=Bear.BLACK, people=[Person(name="Bo")]), {"bear": "black", "people": [BO]}),
        ([dspy.Prediction(answer="x")], [{"answer": "x"}]),
        ({"bears": {Bear.BLACK}}, {"bears": ["black"]}),
    ],
    ids=str,
)
def test_what_a_program_of_the_user_s_returns_comes_back(value, expected):
    assert served(Returns(value)).predict({"question": "x"}) == expected


WRONG = [
    ({"query": "x"}, r"the fields \['query'\].*takes \['question'\] \(unknown: query; missing: question\)"),
    ({"question": "x", "k": 1}, r"\(unknown: k\). Give a dict with these fields"),
    ({}, "missing: question"),
    (pd.DataFrame({"question": []}), "has no rows"),
    (pd.DataFrame([["a", "b"]]), "is a table of 2 columns, not all of them named"),
]


@pytest.mark.parametrize(("value", "words"), WRONG)
def test_an_input_that_does_not_fit_is_refused_with_what_does(value, words):
    """As seen by the program: MLflow's own check of the schema comes first where there is one."""
    model = served(dspy.Predict("question -> answer"))
    with pytest.raises(InputError, match=words):
        model._model_impl.predict(value)


def test_a_bare_text_does_not_fit_a_program_of_two_inputs():
    model = served(dspy.Predict("question, context -> answer"))
    with pytest.raises(InputError, match=r"is a single value, but the program takes \['question', 'context'\]"):
        model._model_impl.predict("x")


def test_the_settings_of_the_model_hold_for_its_calls_and_for_nothing_else():
    model = served(dspy.Predict("question -> answer"), input_example=WHAT)
    mine = scripted_lm({"answer": "mine"})
    dspy.configure(lm=mine)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.predict(WHAT)["answer"], range(8)))
    assert answers == ["bear"] * 8
    assert asyncio.run(asyncio.to_thread(model.predict, WHAT)) == {"answer": "bear"}
    assert dspy.Predict("question -> answer")(question="x").answer == "mine"
    assert len(mine.script.requests) == 1


def test_a_model_saved_without_a_language_model_uses_the_process_s_own():
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model")
    dspy.configure(lm=scripted_lm({"answer": "mine"}))
    assert mlflow.pyfunc.load_model("model").predict({"question": "x"}) == {"answer": "mine"}


def test_the_raw_model_is_the_program_and_the_configuration_is_handed_on():
    model = served(dspy.Predict("question -> answer"), model_config={"k": 3})
    assert isinstance(model.get_raw_model(), dspy.Predict)
    assert model.model_config == {"k": 3}
    assert mlflow.pyfunc.load_model("model", model_config={"k": 4})._model_impl.model_config == {"k": 4}


def test_an_error_of_the_program_is_told_as_its_own():
    class Fails(dspy.Module):
        def forward(self, question: str):
            raise ZeroDivisionError("of the program")

    with pytest.raises(CallError, match="The program raised ZeroDivisionError: of the program") as raised:
        served(Fails()).predict({"question": "x"})
    assert isinstance(raised.value.__cause__, ZeroDivisionError)

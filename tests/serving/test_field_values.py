"""What one row's values become before the program has them: what its fields are declared to take."""

import datetime
import json
from typing import Any, Optional

import dspy
import mlflow
import pandas as pd
import pydantic
import pytest
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations

from mlflow_dspy_plugin.errors import InputError
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401


class Order(pydantic.BaseModel):
    item: str
    when: datetime.date


class Told(dspy.Signature):
    """Answer."""

    question: str = dspy.InputField()
    profile: dict = dspy.InputField()
    answer: str = dspy.OutputField()


class Scored(Told):
    """Answer."""

    profile: dict[str, float] = dspy.InputField()


class Ordered(Told):
    """Answer."""

    profile: Order = dspy.InputField()


class PerhapsOrdered(Told):
    """Answer."""

    profile: Optional[Order] = dspy.InputField()  # noqa: UP045


class Remembered(Told):
    """Answer."""

    profile: dspy.History = dspy.InputField()


ROWS = {
    Told: {"name": "Bo", "age": 3},
    Scored: {"a": 0.5, "b": 0.75},
    Ordered: {"item": "hat", "when": "2024-01-02"},
    PerhapsOrdered: {"item": "hat", "when": "2024-01-02"},
    Remembered: {"messages": [{"question": "earlier?", "answer": "yes"}]},
}


class Echo(dspy.Module):
    """Answers what it was called with."""

    def forward(self, x: Optional[float], k: int = 2, text: str = "d", any: Any = None):  # noqa: UP045
        return {"x": repr(x), "k": k, "text": text, "any": any}


def served(program, **options):
    lm = scripted_lm({"answer": "ok"})
    dspy.configure(lm=lm)
    mlflow.dspy.save_model(program, "model", serialization_format="cloudpickle", **options)
    return mlflow.pyfunc.load_model("model")


def over_http(model, body):
    return invocations(json.dumps(body), CONTENT_TYPE_JSON, model, model.metadata.get_input_schema())


@pytest.mark.parametrize("signature", ROWS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("form", ["dict", "list", "table", "inputs", "dataframe_records", "stream"])
def test_a_value_that_is_an_object_is_one_value_of_one_row(signature, form):
    model = served(Counting(signature))
    row = {"question": "who?", "profile": ROWS[signature]}
    ask = {
        "dict": lambda: model.predict(row),
        "list": lambda: model.predict([row]),
        "table": lambda: model.predict(pd.DataFrame([row])),
        "inputs": lambda: json.loads(over_http(model, {"inputs": row}).response)["predictions"],
        "dataframe_records": lambda: json.loads(over_http(model, {"dataframe_records": [row]}).response)["predictions"],
        "stream": lambda: list(model.predict_stream(row))[-1]["prediction"],
    }[form]
    assert ask() == {"answer": "ok"}
    [profile] = model.get_raw_model().profiles
    told = profile.model_dump(mode="json") if isinstance(profile, pydantic.BaseModel) else profile
    assert {name: told[name] for name in row["profile"]} == ROWS[signature]
    declared = signature.input_fields["profile"].annotation
    if isinstance(declared, type) and issubclass(declared, pydantic.BaseModel):
        assert type(profile).__name__ == declared.__name__


class Counting(dspy.Module):
    """Notes each profile that it is given."""

    def __init__(self, signature):
        super().__init__()
        self.predict = dspy.Predict(signature)
        self.profiles = []

    def forward(self, question, profile):
        self.profiles.append(profile)
        return self.predict(question=question, profile=profile)


def test_an_object_that_no_model_can_be_made_of_is_refused_by_name():
    model = served(dspy.Predict(Ordered))
    with pytest.raises(InputError, match=r"'profile' cannot be made of .*profile.when"):
        model.predict({"question": "who?", "profile": {"item": "hat", "when": "some day"}})
    with pytest.raises(InputError, match=r"Row 1 of 2.*profile.when"):
        good = {"question": "who?", "profile": {"item": "hat", "when": "2024-01-02"}}
        model.predict([good, {"question": "who?", "profile": {"item": "hat"}}])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [(None, "is null|missing: question"), (["a"], "was given a list"), ({"a": 1}, "was given a dict")],
    ids=["null", "list", "object"],
)
def test_what_is_no_text_is_refused_where_a_text_is_declared(wrong, why):
    model = served(dspy.Predict("question -> answer"))
    with pytest.raises(InputError, match=rf"question.*({why})"):
        model.predict([{"question": wrong}])
    with pytest.raises(InputError, match=rf"Row 0 of 2.*question.*({why})"):
        model.predict([{"question": wrong}, {"question": "a"}])


def test_no_value_is_none_where_that_may_be_and_else_the_default():
    model = served(Echo())
    assert model.predict({"x": None}) == {"x": "None", "k": 2, "text": "d", "any": None}
    table = pd.DataFrame({"x": [1.5, None], "text": ["t", None], "any": ["a", None]})
    assert model.predict(table).to_dict("records") == [
        {"x": "1.5", "k": 2, "text": "t", "any": "a"},
        {"x": "None", "k": 2, "text": "d", "any": None},
    ]


@pytest.mark.parametrize(
    "value", ["\ud83d", ["deep", {"in": "a list \ude00"}], {"\ud83d": 1}], ids=["text", "list", "key"]
)
def test_half_of_a_letter_is_refused_by_the_name_of_its_field(value):
    model = served(Echo())._model_impl
    with pytest.raises(InputError, match="The field 'any' has half of a letter"):
        model.predict({"x": 1, "any": value})
    assert model.predict({"x": 1, "any": "\U0001f600"})["any"] == "\U0001f600"


def test_what_is_nested_too_deeply_is_the_fault_of_whoever_sent_it():
    nested = {}
    for _ in range(5_000):
        nested = {"in": nested}
    with pytest.raises(InputError, match="nested too deeply"):
        served(Echo())._model_impl.predict({"x": 1, "any": nested})

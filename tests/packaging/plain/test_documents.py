"""A program and its settings as one document: what stays itself, what is refused, and why."""

import enum
import io
import json
import threading
from pathlib import Path
from typing import Any

import dspy
import mlflow
import numpy as np
import pydantic
import pytest

from mlflow_dspy_plugin.errors import ProgramError
from mlflow_dspy_plugin.plain.document import Document, make_document, parse_document, write_document
from mlflow_dspy_plugin.plain.encode import Encoder
from mlflow_dspy_plugin.plain.nodes import NotPlain
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.plain.kinds import Holding, Nested, Searching, Shelf, Shouting, holding_itself


def back(program: dspy.Module | None, settings: dict[str, Any] | None = None, reuse: bool = False) -> Document:
    """The program and its settings, through a document."""
    return make_document(*parse_document(write_document(program, settings or {}, Encoder())), reuse=reuse)


def test_what_is_one_object_stays_one():
    shared, lm = ["x"], dspy.LM("openai/m")
    program = Nested()
    program.first, program.second = shared, {"again": shared}
    program.desk.shared.lm = program.desk.steps[1].predict.lm = lm
    document = back(program, {"lm": lm})
    loaded = document.program
    assert loaded.same_desk is loaded.desk
    assert loaded.desk.steps[0] is loaded.desk.shared is loaded.desk.by_name["again"]
    assert loaded.first is loaded.second["again"]
    assert loaded.desk.shared.lm is loaded.desk.steps[1].predict.lm is document.settings["lm"]
    assert loaded.desk.steps[2]["last"] is not loaded.desk.shared


def test_what_holds_itself_still_does():
    loaded = back(holding_itself()).program
    assert loaded.loop[1]["loop"] is loaded.loop is loaded.same
    inner: list[Any] = []
    inner.append((inner,))
    held = back(refused(inner)).program.held["inner"][0]
    assert held[0][0] is held


def test_settings_travel_without_a_program():
    settings = {"lm": dspy.LM("openai/m", temperature=0.5), "adapter": Shouting("?"), "rm": Shelf(["a"]), "n": 3}
    document = back(None, settings)
    assert document.program is None
    assert document.settings["lm"].dump_state() == settings["lm"].dump_state()
    assert (document.settings["adapter"].mark, document.settings["rm"].books, document.settings["n"]) == ("?", ["a"], 3)


def test_the_same_program_is_written_the_same():
    program = Nested()
    documents = {write_document(program, {}, Encoder()) for _ in range(3)}
    assert len(documents) == 1


def test_what_a_constructor_makes_is_made_by_it():
    program = Searching(k=3, prefix="?")
    program.predict.demos = [{"found": "a", "answer": "b"}]
    data = write_document(program, {}, Encoder())
    assert json.loads(data)["program"]["arguments"] == {"k": 3, "prefix": "?"}
    loaded = back(program).program
    assert (loaded.search("x"), loaded.predict.demos) == ("?x?x?x", program.predict.demos)


def test_what_a_constructor_does_not_make_is_refused():
    program = Searching()
    program.search = lambda text: text.upper()
    with pytest.raises(
        NotPlain, match="program.search is a lambda, and is not as the constructor of Searching makes it"
    ):
        write_document(program, {}, Encoder())
    program = Holding(tool=lambda: 1)
    with pytest.raises(NotPlain, match=r"program\.tool is a lambda, and the constructor of Holding does not make it"):
        write_document(program, {}, Encoder())


class Forgetful(dspy.Module):
    """Its constructor needs what it does not keep."""

    def __init__(self, secret_of_life: int):
        super().__init__()
        self.answer = lambda: secret_of_life


def nested(depth: int) -> Any:
    held: Any = []
    for _ in range(depth):
        held = [held]
    return held


def refused(value: Any) -> dspy.Module:
    program = dspy.Predict("question -> answer")
    program.held = {"inner": [value]}
    return program


def local_class() -> type:
    class Local(dspy.Module):
        """Defined inside of a function."""

    return Local


def closure() -> Any:
    def inside() -> None:
        """Defined inside of a function."""

    return inside


class Validated(pydantic.BaseModel):
    text: str

    @pydantic.field_validator("text")
    @classmethod
    def check(cls, text: str) -> str:
        return text


def local_model() -> Any:
    class Model(Validated):
        """Has a validator."""

    return Model(text="a")


PLACE = r"program\.held\.inner\[0\] "
REASONS = {
    "lambda": (lambda: lambda: 1, PLACE + "is a lambda"),
    "closure": (closure, PLACE + ".*closure.*inside, which was defined inside of a function"),
    "class": (local_class, PLACE + "is .*Local, which was defined inside of a function"),
    "object of such a class": (lambda: local_class()(), PLACE + "is .*Local, which was defined inside of a function"),
    "model with a validator": (local_model, PLACE + "is .*Model, which was defined inside of a function"),
    "lock": (threading.Lock, PLACE + "is a _thread.lock, which is no plain data"),
    "file": (io.BytesIO, PLACE + "is a _io.BytesIO, which is no plain data"),
    "module": (lambda: threading, PLACE + "is the module threading"),
    "generator": (lambda: (i for i in "a"), PLACE + "is a builtins.generator, which is no plain data"),
    "builtin": (lambda: open, PLACE + "is _?io.open, which cannot be imported from there"),
    "objects": (lambda: np.array([object()]), PLACE + "is a numpy array of Python objects"),
    "depth": (lambda: nested(150), "it is nested more than 100 levels deep"),
    "great depth": (lambda: nested(5000), "it is nested too deeply, or in itself"),
    "constructor": (lambda: Forgetful(42), PLACE[:-1] + r"\.answer is a lambda"),
    "foreign object": (lambda: threading.Thread(), PLACE + "is a threading.Thread, which is no plain data"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_has_no_plain_form_is_named_with_its_place_and_the_reason(name):
    make, words = REASONS[name]
    with pytest.raises(NotPlain, match=words):
        write_document(refused(make()), {}, Encoder())


def test_what_has_no_plain_form_is_pickled_with_one_warning_that_says_why(caplog):
    program = refused(lambda: 1)
    mlflow.dspy.save_model(program, "model", infer_code_paths=False, pip_requirements=[])
    words = [record.message for record in caplog.records if record.name.startswith("mlflow_dspy_plugin")]
    assert len(words) == 1
    assert "saved with cloudpickle, since it is not all plain data: program.held.inner[0] is a lambda." in words[0]
    assert Path("model/data/program.pkl").exists() and not Path("model/data/program.json").exists()


def test_where_plain_data_is_asked_for_it_is_refused_with_the_same_reason():
    with pytest.raises(
        ProgramError, match=r"cannot be saved as plain data: program\.held\.inner\[0\] is a lambda\. Def"
    ):
        mlflow.dspy.save_model(refused(lambda: 1), "model", serialization_format="json", pip_requirements=[])
    assert not Path("model").exists()


def test_pickle_is_used_without_a_word_where_it_is_asked_for(caplog):
    program = refused(lambda: 1)
    options = {"serialization_format": "cloudpickle", "infer_code_paths": False, "pip_requirements": []}
    mlflow.dspy.save_model(program, "model", **options)
    assert [record for record in caplog.records if record.name.startswith("mlflow_dspy_plugin")] == []


def test_classes_saved_by_value_are_themselves_in_the_same_process():
    class Mood(enum.Enum):
        GOOD = 1

    class Person(pydantic.BaseModel):
        mood: Mood = Mood.GOOD

    signature = dspy.Signature({"text": (str, dspy.InputField()), "who": (Person, dspy.OutputField())})
    here = back(dspy.Predict(signature), reuse=True).program
    elsewhere = back(dspy.Predict(signature)).program
    assert here.signature.output_fields["who"].annotation is Person
    made = elsewhere.signature.output_fields["who"].annotation
    assert made is not Person and made.model_json_schema() == Person.model_json_schema()


def test_a_class_that_has_changed_since_is_not_taken_for_the_saved_one():
    def make(label: str) -> type:
        return enum.Enum("Mood", {"GOOD": label})

    old, new = make("good"), make("fine")
    data = write_document(refused(old), {}, Encoder())
    write_document(refused(new), {}, Encoder())
    assert make_document(*parse_document(data)).program.held["inner"][0] is old
    del old
    assert make_document(*parse_document(data)).program.held["inner"][0].GOOD.value == "good"

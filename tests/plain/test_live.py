"""Whoever saves and loads in one process gets the own classes back, as long as they live."""

import gc

import mlflow
import pytest

from tests.packaging.cells import main  # noqa: F401
from tests.packaging.no_store import store  # noqa: F401

CELLS = (
    """
import enum
import dspy
import pydantic

class Label(enum.Enum):
    GOOD = "good"

class Place(pydantic.BaseModel):
    name: str

class Judge(dspy.Signature):
    question: str = dspy.InputField()
    label: Label = dspy.OutputField()
    place: Place = dspy.OutputField()
""",
    """
class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.judge = dspy.Predict(Judge)
        self.best = Label.GOOD

    def forward(self, question):
        return self.judge(question=question)
""",
)


def saved(program, folder):
    mlflow.dspy.save_model(program, folder, infer_code_paths=False, serialization_format="json")
    return folder


def test_loading_gives_the_classes_that_were_saved(main):  # noqa: F811
    names = main(*CELLS)
    program = names["QA"]()
    loaded = mlflow.dspy.load_model(saved(program, "model"))
    assert isinstance(loaded, names["QA"])
    assert loaded.best is names["Label"].GOOD
    fields = loaded.judge.signature.output_fields
    assert (fields["label"].annotation, fields["place"].annotation) == (names["Label"], names["Place"])


@pytest.mark.parametrize("bare", [False, True])
def test_a_program_of_dspy_s_own_keeps_the_types_of_its_fields(main, bare):  # noqa: F811
    names = main(*CELLS, "plain = dspy.Predict('question -> label: Label')")
    program = names["plain"] if bare else names["dspy"].Predict(names["Judge"])
    loaded = mlflow.dspy.load_model(saved(program, "model"))
    assert loaded.signature.output_fields["label"].annotation is names["Label"]


def test_classes_that_are_no_more_are_made_again(main):  # noqa: F811
    names = main(*CELLS)
    folder = saved(names["QA"](), "model")
    gone = id(names["QA"])
    names.clear()
    main()
    gc.collect()
    loaded = mlflow.dspy.load_model(folder)
    assert type(loaded).__name__ == "QA" and id(type(loaded)) != gone
    assert loaded.best.name == "GOOD"


def test_another_class_of_the_same_name_is_not_taken_for_it(main):  # noqa: F811
    first = main(*CELLS)["QA"]
    folder = saved(first(), "first")
    second = main(CELLS[0], CELLS[1].replace("question=question)", "question=question.upper())"))["QA"]
    saved(second(), "second")
    assert type(mlflow.dspy.load_model(folder)) is first
    assert type(mlflow.dspy.load_model("second")) is second

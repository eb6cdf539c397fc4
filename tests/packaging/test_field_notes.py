"""What the metadata of a model says of the program's fields."""

import enum
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional, Union

import dspy
import pytest
import yaml

from mlflow_dspy_plugin.programs.field_notes import field_notes
from mlflow_dspy_plugin.programs.fields import fields_of
from mlflow_dspy_plugin.scrubbing.scrubber import Scrubber
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import Address, Mood


class Ticket(dspy.Signature):
    """Sort a ticket."""

    text: str = dspy.InputField(desc="what the customer wrote")
    token: int = dspy.InputField()
    language: Optional[Literal["de", "en"]] = dspy.InputField(desc="where it is known")  # noqa: UP045
    limit: int = dspy.InputField(default=3)
    mood: Mood = dspy.OutputField(desc="")
    sender: Address | None = dspy.OutputField()


NOTES = {
    "inputs": [
        {"name": "text", "type": "str", "optional": False, "description": "what the customer wrote"},
        {"name": "token", "type": "int", "optional": False},
        {
            "name": "language",
            "type": "Literal['de', 'en'] | None",
            "optional": True,
            "values": ["de", "en"],
            "description": "where it is known",
        },
        {"name": "limit", "type": "int", "optional": True},
    ],
    "outputs": [
        {"name": "mood", "type": "Mood", "optional": False, "values": ["good", "bad"]},
        {"name": "sender", "type": "Address | None", "optional": True},
    ],
}


def test_each_field_is_described_as_its_signature_does():
    assert field_notes(fields_of(dspy.Predict(Ticket))) == NOTES


def test_the_notes_survive_json_yaml_and_the_redaction_of_metadata_with_their_order():
    notes = field_notes(fields_of(dspy.Predict(Ticket)))
    assert json.loads(json.dumps(notes)) == NOTES
    assert yaml.safe_load(yaml.safe_dump(Scrubber().scrub(notes, "metadata"))) == NOTES


class Own(dspy.Module):
    """A module whose argument has the name of what its predictor gives."""

    def __init__(self):
        super().__init__()
        self.inner = dspy.Predict(Ticket)

    def forward(self, text, mood: str, sender: Address | None = None):
        return self.inner(text=text)


def test_the_arguments_of_forward_take_the_descriptions_of_inputs_of_their_name_only():
    notes = field_notes(fields_of(Own()))
    assert notes["inputs"] == [
        {"name": "text", "type": "str", "optional": False, "description": "what the customer wrote"},
        {"name": "mood", "type": "str", "optional": False},
        {"name": "sender", "type": "Address | None", "optional": True},
    ]
    assert notes["outputs"] == NOTES["outputs"]


class Anything(dspy.Module):
    def forward(self, *args, **kwargs):
        return "x"


def test_a_side_that_is_not_known_is_left_out():
    assert field_notes(fields_of(Anything())) == {}


class Odd(enum.Enum):
    PAIR = (1, 2)
    NONE = None


TYPES = [
    (list[str], "list[str]"),
    (dict[str, list[Address]], "dict[str, list[Address]]"),
    (tuple[int, ...], "tuple[int, ...]"),
    (Union[int, str], "int | str"),  # noqa: UP007, written as users write it
    (int | str | None, "int | str | None"),
    (Any, "Any"),
    (list, "list"),
    (list[Annotated[str, {"unhashable": 1}]], "list[str]"),
    (Callable[[int], str], "Callable[[int], str]"),
    (dspy.Image, "Image"),
]


@pytest.mark.parametrize(("annotation", "expected"), TYPES, ids=[text for _, text in TYPES])
def test_a_type_is_written_as_in_python(annotation, expected):
    fields = {"x": (str, dspy.InputField()), "y": (annotation, dspy.OutputField())}
    (note,) = field_notes(fields_of(dspy.Predict(dspy.Signature(fields))))["outputs"]
    assert note == {"name": "y", "type": expected, "optional": expected.endswith("None")}


@pytest.mark.parametrize(
    ("annotation", "values"),
    [(Odd, ["(1, 2)", None]), (Literal[1, True, Mood.GOOD], [1, True, "good"]), (Optional[Mood], ["good", "bad"])],  # noqa: UP045
    ids=str,
)
def test_values_are_given_as_json_can_write_them(annotation, values):
    fields = {"x": (str, dspy.InputField()), "y": (annotation, dspy.OutputField())}
    (note,) = field_notes(fields_of(dspy.Predict(dspy.Signature(fields))))["outputs"]
    assert note["values"] == values

"""The MLflow signature of a program, read from its DSPy signature or its `forward`."""

import datetime
import enum
from typing import Annotated, Any, Literal, Optional, Union

import dspy
import pydantic
import pytest
from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property

from mlflow_dspy_plugin.programs.fields import fields_of
from mlflow_dspy_plugin.programs.schema import signature_of
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import Address, Mood, Typed


class Tree(pydantic.BaseModel):
    name: str
    children: list["Tree"] = []


class Husband(pydantic.BaseModel):
    wife: Optional["Wife"] = None


class Wife(pydantic.BaseModel):
    husband: Husband


class Open(pydantic.BaseModel):
    anything: Any


class Empty(pydantic.BaseModel):
    pass


class Number(enum.IntEnum):
    ONE = 1


ADDRESS = Object([Property("street", DataType.string), Property("number", DataType.long, required=False)])
TYPES = [
    (str, DataType.string),
    (int, DataType.long),
    (float, DataType.double),
    (bool, DataType.boolean),
    (bytes, DataType.binary),
    (Literal["a", "b"], DataType.string),
    (Literal[1, 2], DataType.long),
    (Literal[1, "b"], AnyType()),
    (Mood, DataType.string),
    (Number, DataType.long),
    (list[str], Array(DataType.string)),
    (list[list[int]], Array(Array(DataType.long))),
    (set[str], Array(DataType.string)),
    (list[Any], AnyType()),
    (list, AnyType()),
    (dict[str, int], Map(DataType.long)),
    (dict[int, str], AnyType()),
    (dict[str, Any], AnyType()),
    (dict, AnyType()),
    (tuple[int, str], AnyType()),
    (Union[int, str], AnyType()),  # noqa: UP007, written as users write it
    (int | str, AnyType()),
    (Any, AnyType()),
    (datetime.date, AnyType()),
    (Address, ADDRESS),
    (list[Address], Array(ADDRESS)),
    (Open, AnyType()),
    (Empty, AnyType()),
    (Tree, AnyType()),
    (Wife, AnyType()),
    (Husband, AnyType()),
    (dspy.Image, AnyType()),
    (dspy.History, AnyType()),
    (Annotated[str, {"unhashable": 1}], DataType.string),
    (list[Annotated[str, {"unhashable": 1}]], Array(DataType.string)),
]


@pytest.mark.parametrize(("annotation", "expected"), TYPES, ids=lambda value: str(value)[:40])
def test_every_type_of_a_field_has_its_mlflow_type(annotation, expected):
    program = dspy.Predict(dspy.Signature({"x": (str, dspy.InputField()), "y": (annotation, dspy.OutputField())}))
    (column,) = signature_of(fields_of(program)).outputs.inputs
    assert (column.name, column.type, column.required) == ("y", expected, True)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [(Optional[str], DataType.string), (str | None, DataType.string), (int | str | None, AnyType())],  # noqa: UP045
)
def test_an_input_that_may_be_none_may_be_left_out(annotation, expected):
    fields = {"x": (annotation, dspy.InputField()), "y": (str, dspy.OutputField())}
    (column,) = signature_of(fields_of(dspy.Predict(dspy.Signature(fields)))).inputs.inputs
    assert (column.type, column.required) == (expected, False)


def test_a_typed_signature_is_read_field_by_field():
    signature = signature_of(fields_of(dspy.ChainOfThought(Typed)))
    assert {c.name: c.required for c in signature.inputs.inputs} == {
        "letter": True,
        "pages": True,
        "readers": False,
    }
    assert signature.outputs.input_names() == ["reasoning", *Typed.output_fields]


class Arguments(dspy.Module):
    def __init__(self):
        super().__init__()
        self.inner = dspy.Predict("question, k: int -> answer: list[str]")

    def forward(self, question, k: "int" = 3, note: Annotated[str, {"unhashable": 1}] = ""):
        return self.inner(question=question, k=k)


class Anything(dspy.Module):
    def forward(self, *args, **kwargs):
        return "x"


class AsyncOnly(dspy.Module):
    async def aforward(self, question: str):
        return "x"


def test_the_arguments_of_forward_are_the_inputs_and_the_only_predictor_tells_the_rest():
    signature = signature_of(fields_of(Arguments()))
    columns = [(c.name, c.type, c.required) for c in signature.inputs.inputs]
    assert columns == [
        ("question", DataType.string, True),
        ("k", DataType.long, False),
        ("note", DataType.string, False),
    ]
    assert [(c.name, c.type) for c in signature.outputs.inputs] == [("answer", Array(DataType.string))]


def test_what_is_not_known_is_left_open():
    assert signature_of(fields_of(Anything())) is None
    signature = signature_of(fields_of(Anything()), {"a": "x", "b": 1})
    assert (signature.inputs.input_names(), signature.outputs) == (["a", "b"], None)
    assert signature_of(fields_of(AsyncOnly())).inputs.input_names() == ["question"]


@pytest.mark.parametrize(
    ("program", "inputs", "outputs"),
    [
        (lambda: dspy.ReAct("question -> answer", tools=[len]), ["question"], ["answer"]),
        (lambda: dspy.Refine(dspy.Predict("q -> a"), 2, lambda a, p: 1.0, 1.0), ["q"], ["a"]),
        (lambda: dspy.MultiChainComparison("q -> a"), None, None),
    ],
)
def test_dspy_s_own_modules_are_known_by_their_signature(program, inputs, outputs):
    fields = fields_of(program())
    if inputs is not None:
        assert (list(fields.inputs), list(fields.outputs)[-1:]) == (inputs, outputs)


@pytest.mark.parametrize("example", ["x", {"question": "x"}, None])
def test_what_a_request_may_override_is_declared_and_changes_nothing_by_default(example):
    params = signature_of(fields_of(dspy.Predict("question -> answer")), example).params
    assert [(param.name, param.dtype.name, param.default) for param in params] == [
        ("temperature", "double", None),
        ("max_tokens", "long", None),
        ("top_p", "double", None),
        ("cache", "boolean", None),
        ("on_error", "string", None),
        ("return_trace_id", "boolean", None),
        ("status_messages", "boolean", None),
    ]

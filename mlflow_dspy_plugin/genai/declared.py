"""A value as a trace or a person tells it -> what its field is declared as. Pure."""

import enum
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import dspy
import pydantic

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.programs.fields import fields_of
from mlflow_dspy_plugin.prompts.values import Value, is_made, made

Types = Mapping[str, Any]


def types_of_signature(signature: type[dspy.Signature]) -> Types:
    """The types of its fields."""
    return {name: field.annotation for name, field in signature.fields.items()}


def types_of_program(program: dspy.Module) -> Types:
    """The types of what a program takes and gives, where they can be known."""
    known = fields_of(program)
    # What it gives is mostly what a predictor gives under that name, the last one first.
    of_predictors = {name: type_ for each in program.predictors() for name, type_ in _outputs(each).items()}
    return {**of_predictors, **(known.outputs or {}), **(known.inputs or {})}


def declared(value: Any, type_: Any) -> tuple[Any, bool]:
    """The value as its type has it, and whether it fits; it stays as it is if it does not.

    Args:
        value: Plain JSON; other objects stay as they are.
        type_: The type of its field; None where that is not known.
    """
    if value is None or type_ in (None, Any, str, type(value)) or not _is_json(value):
        return value, True
    if attempt(lambda: pydantic.TypeAdapter(type_), lambda error: None) is None:
        return value, True
    members = {str(each): each.value for kind in _enums_in(type_) for each in kind}
    found = made(Value(_by_value(value, members), typed=True), type_)
    return (found, True) if is_made(found) else (value, False)


def _outputs(predictor: dspy.Module) -> Types:
    return {name: field.annotation for name, field in predictor.signature.output_fields.items()}


def _is_json(value: Any) -> bool:
    return attempt(lambda: bool(json.dumps(value)), lambda error: False)


def _enums_in(type_: Any, seen: frozenset[Any] = frozenset()) -> Iterator[type[enum.Enum]]:
    """The enums that a type is made of: traces show a member by its name."""
    if isinstance(type_, type) and issubclass(type_, enum.Enum):
        yield type_
    elif isinstance(type_, type) and issubclass(type_, pydantic.BaseModel) and type_ not in seen:
        for field in type_.model_fields.values():
            yield from _enums_in(field.annotation, seen | {type_})
    for part in typing.get_args(type_):
        yield from _enums_in(part, seen)


def _by_value(value: Any, members: Mapping[str, Any]) -> Any:
    """A value with the names of members replaced by what pydantic makes them of."""
    if isinstance(value, str):
        return members.get(value, value)
    if isinstance(value, list):
        return [_by_value(each, members) for each in value]
    if isinstance(value, dict):
        return {name: _by_value(each, members) for name, each in value.items()}
    return value

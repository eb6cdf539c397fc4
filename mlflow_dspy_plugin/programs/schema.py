"""DSPy's fields -> MLflow's model signature, without running the program."""

import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

import pydantic
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, ParamSchema, ParamSpec, Property, Schema

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.programs.fields import Fields

_PLAIN = {
    str: DataType.string,
    int: DataType.long,
    float: DataType.double,
    bool: DataType.boolean,
    bytes: DataType.binary,
}

# What a request may ask for: arguments of the language model, and how it is answered. None leaves it as it is.
_PARAMS = {
    "temperature": DataType.double,
    "max_tokens": DataType.long,
    "top_p": DataType.double,
    "cache": DataType.boolean,
    names.PARAM_ON_ERROR: DataType.string,
    names.PARAM_TRACE_ID: DataType.boolean,
    names.PARAM_STATUS: DataType.boolean,
}


def signature_of(fields: Fields, example: Any = None, choosable_model: bool = False) -> ModelSignature | None:
    """The MLflow signature of a program; None where its inputs are not known either way.

    Args:
        fields: What the program takes and gives.
        example: An input example as MLflow passes it on. A bare string makes the input column
            unnamed: MLflow then lets a string, a dict and a DataFrame through; with named columns
            it refuses the string before the program sees it.
        choosable_model: Whether a request may ask for another language model.
    """
    if isinstance(example, str):
        inputs = Schema([ColSpec(DataType.string)])
    elif fields.inputs:
        inputs = _schema(fields.inputs, fields.required)
    elif example is not None:
        inputs = infer_signature(example).inputs
    else:
        return None
    outputs = _schema(fields.outputs, frozenset(fields.outputs)) if fields.outputs else None
    allowed = {**_PARAMS, names.PARAM_MODEL: DataType.string} if choosable_model else _PARAMS
    params = ParamSchema([ParamSpec(name, type_, None) for name, type_ in allowed.items()])
    return ModelSignature(inputs=inputs, outputs=outputs, params=params)


def _schema(fields: Mapping[str, Any], required: frozenset[str]) -> Schema:
    return Schema([_column(name, type_, name in required) for name, type_ in fields.items()])


def _column(name: str, annotation: Any, required: bool) -> ColSpec:
    type_, optional = unwrap_optional(annotation)
    return ColSpec(_data_type(type_), name=name, required=required and not optional)


def _data_type(annotation: Any, outer: tuple[type, ...] = ()) -> Any:
    """The MLflow type of an annotation; AnyType where MLflow has none.

    Args:
        annotation: A Python type.
        outer: The pydantic models around it: one that holds itself has no MLflow type.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _data_type(arguments[0], outer)
    if origin is typing.Literal:
        return _common_type(arguments)
    if origin in (list, set) and len(arguments) == 1:
        return _nested(Array, arguments[0], outer)
    if origin is dict and arguments[:1] == (str,):
        return _nested(Map, arguments[1], outer)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _common_type([member.value for member in annotation])
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return _object(annotation, outer)
    return _PLAIN.get(annotation, AnyType()) if isinstance(annotation, type) else AnyType()


def _nested(container: type, item: Any, outer: tuple[type, ...]) -> Any:
    # MLflow has no container of anything.
    inner = _data_type(item, outer)
    return AnyType() if isinstance(inner, AnyType) else container(inner)


def _object(model: type[pydantic.BaseModel], outer: tuple[type, ...]) -> Any:
    """A pydantic model as an MLflow object; one with a field of no MLflow type takes anything."""
    if model in outer or model.__module__.split(".")[0] == "dspy":
        # DSPy's own (Image, History, Tool) take more than their fields.
        return AnyType()
    properties = []
    for name, field in model.model_fields.items():
        type_, optional = unwrap_optional(field.annotation)
        inner = _data_type(type_, (*outer, model))
        if isinstance(inner, AnyType):
            return AnyType()
        properties.append(Property(name, inner, required=field.is_required() and not optional))
    return Object(properties) if properties else AnyType()


def _common_type(values: Any) -> Any:
    kinds = {type(value) for value in values}
    return _PLAIN.get(kinds.pop(), AnyType()) if len(kinds) == 1 else AnyType()


def unwrap_optional(annotation: Any) -> tuple[Any, bool]:
    """`Optional[X]` -> (X, True); anything else -> (itself, False)."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(annotation) if a is not type(None)]
        if len(rest) < len(typing.get_args(annotation)):
            return (rest[0] if len(rest) == 1 else Any), True
    return annotation, False

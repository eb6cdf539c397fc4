"""Type annotations, Enums and plain pydantic models <-> nodes."""

import functools
import operator
import types
import typing
from enum import Enum
from typing import Any

import dspy
import pydantic

from mlflow_dspy_plugin.plain.nodes import KIND, Decode, Encode, NotPlain
from mlflow_dspy_plugin.plain.signatures import checked_type, decode_fields, encode_fields
from mlflow_dspy_plugin.seams import programs as programs_seam

# Annotations that are no classes.
_SPECIAL = {
    "Any": Any,
    "None": types.NoneType,
    "Union": typing.Union,
    "UnionType": types.UnionType,
    "Ellipsis": ...,
}
_SPECIAL_NAMES = {id(value): name for name, value in _SPECIAL.items()}
_ENUM_BASES = {"str": str, "int": int, "": None}


def is_annotation(value: Any) -> bool:
    """Whether a value is a type, or what stands for one."""
    return isinstance(value, type) or typing.get_origin(value) is not None or id(value) in _SPECIAL_NAMES


def encode_annotation(annotation: Any, path: str | None, encode: Encode, where: str) -> dict[str, Any]:
    """The node of an annotation.

    Args:
        annotation: The annotation.
        path: Its path, if it is a class that has one.
        encode: Encodes what is in it.
        where: Where it stands, for errors.

    Raises:
        NotPlain: If a class in it can neither be imported nor described by its fields.
    """
    if id(annotation) in _SPECIAL_NAMES:
        return {KIND: "special", "name": _SPECIAL_NAMES[id(annotation)]}
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return {KIND: "literal", "values": [encode(value, where) for value in typing.get_args(annotation)]}
    if origin is typing.Annotated:
        metadata = [encode(item, where) for item in annotation.__metadata__]
        return {KIND: "annotated", "type": encode(annotation.__origin__, where), "metadata": metadata}
    if origin is not None:
        inner = [encode(argument, where) for argument in typing.get_args(annotation)]
        return {KIND: "generic", "origin": encode(origin, where), "arguments": inner}
    return {KIND: "type", "path": path} if path else _encode_class(annotation, encode, where)


def decode_annotation(node: dict[str, Any], decode: Decode) -> Any:
    """The annotation of a node of the kinds special, literal, annotated and generic.

    Raises:
        ModelFolderError: If a text stands where a type belongs: pydantic would run it as code.
    """
    if node[KIND] == "special":
        return _SPECIAL[node["name"]]
    if node[KIND] == "literal":
        return typing.Literal[tuple(decode(value) for value in node["values"])]
    if node[KIND] == "annotated":
        return typing.Annotated[(checked_type(decode(node["type"])), *map(decode, node["metadata"]))]
    origin = checked_type(decode(node["origin"]))
    arguments = tuple(checked_type(decode(argument)) for argument in node["arguments"])
    return functools.reduce(operator.or_, arguments) if origin is types.UnionType else origin[arguments]


def _encode_class(cls: Any, encode: Encode, where: str) -> dict[str, Any]:
    """A class that cannot be imported where the model loads, described by what it holds."""
    if issubclass(cls, dspy.Code) and cls.__bases__ == (dspy.Code,):
        return {KIND: "code", "language": cls.language}
    if decision := programs_seam.decision(cls):
        return {KIND: "decision", "of": decision[0], "options": [encode(option, where) for option in decision[1]]}
    if issubclass(cls, Enum) and not _own_functions(cls):
        base = next((name for name, base in _ENUM_BASES.items() if base and issubclass(cls, base)), "")
        members = [[name, encode(member.value, where)] for name, member in cls.__members__.items()]
        return {KIND: "enum", "name": cls.__name__, "base": base, "members": members}
    if issubclass(cls, pydantic.BaseModel) and cls.__bases__ == (pydantic.BaseModel,) and not _own_functions(cls):
        return {
            KIND: "model",
            "name": cls.__name__,
            "doc": vars(cls).get("__doc__"),
            "config": encode(dict(cls.model_config), where),
            "fields": encode_fields(cls, encode, where),
        }
    if "<locals>" in cls.__qualname__:
        raise NotPlain(f"{where} is {cls.__qualname__}, which was defined inside of a function")
    raise NotPlain(f"{where} is the class {cls.__qualname__}, which cannot be imported from {cls.__module__!r}")


def decode_class(node: dict[str, Any], decode: Decode) -> type:
    """The class of a node of the kinds code, decision, enum and model."""
    if node[KIND] == "code":
        return dspy.Code[node["language"]]
    if node[KIND] == "decision":
        return programs_seam.make_decision(node["of"], [decode(option) for option in node["options"]])
    if node[KIND] == "enum":
        members = [(name, decode(value)) for name, value in node["members"]]
        return Enum(node["name"], members, type=_ENUM_BASES[node["base"]])
    fields = decode_fields(node, decode)
    config = decode(node["config"])
    return pydantic.create_model(
        node["name"],
        __doc__=node["doc"],
        **({"__config__": config} if config else {}),
        **{name: (info.annotation, info) for name, info in fields.items()},
    )


def _own_functions(cls: type) -> list[str]:
    """The methods, properties and validators that a class defines itself: what only its code can tell."""
    made = (types.FunctionType, property, classmethod, staticmethod)
    decorators = getattr(cls, "__pydantic_decorators__", None)
    validates = [name for name in getattr(decorators, "__slots__", ()) if getattr(decorators, name)]
    own = [n for n, v in vars(cls).items() if isinstance(v, made) and not _is_pythons(n, v)]
    return own + validates


def _is_pythons(name: str, value: Any) -> bool:
    """Whether Python or a metaclass has put this function there."""
    function = getattr(value, "__func__", value)
    return (
        name.startswith("__")
        and getattr(function, "__module__", None) in {"enum", "pydantic.main", None}
        or (name in {"_generate_next_value_", "__new__"} and getattr(function, "__module__", None) == "enum")
    )

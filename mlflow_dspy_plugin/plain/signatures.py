"""`dspy.Signature` classes and their fields <-> nodes."""

import typing
from typing import Any

import dspy
import pydantic
from pydantic_core import PydanticUndefined

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.plain.nodes import KIND, Decode, Encode, NotPlain

# Constraints, by the argument of `pydantic.Field` that makes them.
_CONSTRAINTS = (
    *("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern"),
    *("strict", "allow_inf_nan", "max_digits", "decimal_places"),
)
_MAKE_CONSTRAINTS = {"annotated_types", "pydantic"}
_TEXTS = ("title", "description", "alias", "examples")


def encode_fields(model: type[pydantic.BaseModel], encode: Encode, where: str) -> list[list[Any]]:
    """The fields of a signature or a pydantic model, in order."""
    return [[name, encode(info, f"{where}.{name}")] for name, info in model.model_fields.items()]


def encode_field(info: Any, encode: Encode, where: str) -> dict[str, Any]:
    """The node of one field."""
    if info.default_factory is not None:
        raise NotPlain(f"{where} is a field with a default_factory, which is code")
    if callable(info.json_schema_extra):
        raise NotPlain(f"{where} is a field with a function as json_schema_extra")
    constraints = {name: value for item in info.metadata for name, value in _constraints(item, where).items()}
    remarks = [item for item in info.metadata if not _makes_constraint(item)]
    node = {
        KIND: "field",
        "annotation": encode(info.annotation, where),
        # A copy: DSPy's copies of a signature share this dict, and nobody can tell.
        "extra": encode(info.json_schema_extra and dict(info.json_schema_extra), where),
        "constraints": encode(constraints, where),
        "texts": {name: encode(getattr(info, name), where) for name in _TEXTS if getattr(info, name) is not None},
    }
    if remarks:
        node["remarks"] = [encode(item, where) for item in remarks]
    if info.default is not PydanticUndefined:
        node["default"] = encode(info.default, where)
    return node


def decode_field(node: dict[str, Any], decode: Decode) -> Any:
    """The field of a node.

    Raises:
        ValueError: If it has arguments that are no constraints and no texts.
    """
    unknown = (node["constraints"].keys() - set(_CONSTRAINTS)) | (node["texts"].keys() - set(_TEXTS))
    if unknown:
        raise ValueError(f"a field has {sorted(unknown)}, which no field may have")
    info = pydantic.Field(
        decode(node["default"]) if "default" in node else PydanticUndefined,
        json_schema_extra=decode(node["extra"]),
        **decode(node["constraints"]),
        **decode(node["texts"]),
    )
    info.annotation = checked_type(decode(node["annotation"]))
    info.metadata.extend(decode(item) for item in node.get("remarks", ()))
    return info


def decode_fields(node: dict[str, Any], decode: Decode) -> dict[str, Any]:
    """The fields of the node of a signature or a model, by name."""
    fields = {}
    for name, field in node["fields"]:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("__"):
            raise ModelFolderError(f"The model has a field called {name!r}. Do not load it: it was tampered with.")
        fields[name] = decode(field)
    return fields


def checked_type(annotation: Any) -> Any:
    """What may stand as a type, or as a list of types in one.

    Raises:
        ModelFolderError: If it is a text: pydantic and typing take it for the name of a type, and run it to find out.
    """
    for part in annotation if isinstance(annotation, list) else [annotation]:
        if isinstance(part, (str, bytes, list, typing.ForwardRef)):
            raise ModelFolderError("The model has a text in place of a type. Do not load it: it was tampered with.")
    return annotation


def _makes_constraint(item: Any) -> bool:
    """Whether it constrains a field; anything else in `Annotated` is a remark of the user's, or of DSPy's."""
    return type(item).__module__.split(".")[0] in _MAKE_CONSTRAINTS and not isinstance(item, type)


def _constraints(item: Any, where: str) -> dict[str, Any]:
    if not _makes_constraint(item):
        return {}
    found = {name: getattr(item, name) for name in _CONSTRAINTS if getattr(item, name, None) is not None}
    if not found:
        raise NotPlain(f"{where} is a field with the constraint {item!r}, which is code")
    return found


def encode_signature(signature: Any, encode: Encode, where: str) -> dict[str, Any]:
    """The node of a `dspy.Signature` class: its name, its instructions and its fields."""
    return {
        KIND: "signature",
        "name": signature.__name__,
        "instructions": signature.instructions,
        "fields": encode_fields(signature, encode, where),
    }


def decode_signature(node: dict[str, Any], decode: Decode) -> Any:
    """The signature class of a node."""
    fields = decode_fields(node, decode)
    return dspy.make_signature(
        {name: (info.annotation, info) for name, info in fields.items()},
        instructions=node["instructions"],
        signature_name=node["name"],
    )

"""A program's fields in DSPy's own words, for the metadata of an MLmodel file. Pure.

Lists, since YAML files keep the order of lists only, and since the name of a field would tell the
redaction of the metadata that what is below is a secret.
"""

import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from mlflow_dspy_plugin.programs.fields import Fields
from mlflow_dspy_plugin.programs.schema import unwrap_optional


def field_notes(fields: Fields) -> dict[str, list[dict[str, Any]]]:
    """Say of each field what MLflow's signature cannot.

    Args:
        fields: What the program takes and gives.

    Returns:
        `{"inputs": [...], "outputs": [...]}`, without a side that is not known. Each field has a
        name, a type (as Python writes it) and whether it is optional: may be left out or None. Where
        there are any, it has the values of its Literal or Enum and the description too.
    """
    notes = {}
    if fields.inputs is not None:
        notes["inputs"] = _notes(fields.inputs, fields.required, fields.input_descriptions)
    if fields.outputs is not None:
        notes["outputs"] = _notes(fields.outputs, frozenset(fields.outputs), fields.output_descriptions)
    return notes


def _notes(
    annotations: Mapping[str, Any], required: frozenset[str], descriptions: Mapping[str, str]
) -> list[dict[str, Any]]:
    notes = []
    for name, annotation in annotations.items():
        inner, may_be_none = unwrap_optional(annotation)
        note = {"name": name, "type": _text(annotation), "optional": may_be_none or name not in required}
        if values := _values(inner):
            note["values"] = values
        if name in descriptions:
            note["description"] = str(descriptions[name])
        notes.append(note)
    return notes


def _text(annotation: Any) -> str:
    """A type as it is written in Python, with the names of classes alone."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _text(arguments[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_text, arguments))
    if origin is not None and arguments:
        return f"{_text(origin)}[{', '.join(map(_text, arguments))}]"
    if annotation in (type(None), ...):
        return "None" if annotation is not ... else "..."
    if isinstance(annotation, list):
        # The arguments of a Callable.
        return f"[{', '.join(map(_text, annotation))}]"
    return getattr(annotation, "__name__", None) or str(annotation).removeprefix("typing.")


def _values(annotation: Any) -> list[Any]:
    """What a field may be, of a Literal or an Enum."""
    if typing.get_origin(annotation) is typing.Literal:
        return [_plain(value) for value in typing.get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [_plain(member) for member in annotation]
    return []


def _plain(value: Any) -> Any:
    """A value that JSON and YAML can write."""
    value = value.value if isinstance(value, Enum) else value
    return value if type(value) in (str, int, float, bool, type(None)) else str(value)

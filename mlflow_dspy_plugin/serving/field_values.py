"""A value as a request brings it -> what the program's field is declared to take. Pure."""

import re
import typing
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pydantic

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.programs.fields import Fields
from mlflow_dspy_plugin.programs.schema import unwrap_optional

# As JSON's `"\\ud83d"` becomes one in Python.
_HALF = re.compile(r"[\ud800-\udfff]")


def declared_values(given: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """The values of one row as the program's fields are declared to take them.

    Objects become pydantic models where those are declared, as `dspy.History` is. A table has no cell without a value:
    what stands for none there becomes None where the field may be None, and is left out where it has a default.

    Raises:
        InputError: If a field that needs a value has none, or has one that it cannot be made of.
    """
    for name, value in given.items():
        check_sendable(value, f"The field {name!r}")
    if fields.inputs is None:
        return dict(given)
    values = {name: _declared(name, value, fields.inputs.get(name, Any)) for name, value in given.items()}
    return {name: value for name, value in values.items() if not _is_left_out(name, value, fields)}


def check_sendable(value: Any, what: str) -> None:
    """Check that the texts in a value can be written as UTF-8.

    Args:
        value: A value as JSON has them, or any other.
        what: Where it stands, to be named.

    Raises:
        InputError: If one has half of a letter that UTF-16 writes as two.
    """
    if isinstance(value, str):
        if not value.isascii() and _HALF.search(value):
            raise InputError(f"{what} has half of a letter (a lone surrogate), which cannot be sent. Take it out.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_sendable(key, what)
            check_sendable(item, what)
    elif isinstance(value, list):
        for item in value:
            check_sendable(item, what)


def is_nothing(value: Any) -> bool:
    """Whether it stands in a table for no value."""
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _declared(name: str, value: Any, annotation: Any) -> Any:
    type_, may_be_none = unwrap_optional(annotation)
    if is_nothing(value):
        # Among numbers, NaN is one.
        return value if not may_be_none and type_ is float and value is not None else None
    if type_ is str and isinstance(value, (list, dict)):
        raise InputError(f"The field {name!r} is a text, but was given a {type(value).__name__}: {value!r:.100}.")
    if not isinstance(value, (list, dict)) or not _has_model(type_):
        return value
    try:
        return pydantic.TypeAdapter(type_).validate_python(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, (name, *first["loc"])))
        raise InputError(f"The field {name!r} cannot be made of {value!r:.100}: {place}: {first['msg']}.") from None


def _is_left_out(name: str, value: Any, fields: Fields) -> bool:
    """Whether there is no value, and the field has a default."""
    type_, may_be_none = unwrap_optional(fields.inputs.get(name, Any))
    if value is not None or may_be_none or type_ is Any:
        return False
    if name in fields.required:
        raise InputError(f"The field {name!r} is null. Give it a value: the program needs one.")
    return True


def _has_model(annotation: Any) -> bool:
    """Whether it is, or is made of, a pydantic model."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return True
    return any(map(_has_model, typing.get_args(annotation)))

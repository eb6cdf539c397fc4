"""What a program returned -> what `pyfunc.predict` gives, which any server can write as JSON. Pure."""

import dataclasses
import datetime
import decimal
import pathlib
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import dspy
import numpy as np
import pandas as pd
import pydantic
from pydantic_core import to_jsonable_python

# What pydantic writes as JSON in a way of its own.
_LEAVES = (
    pydantic.BaseModel,
    Enum,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
    pathlib.PurePath,
    bytes,
)
_SEQUENCES = (list, tuple, set, frozenset, deque)
# Columns of one kind get a type of numpy's: Spark looks for it.
_TYPES = {int: "int64", float: "float64", bool: "bool"}
_LARGEST = 2**63


def plain(value: Any) -> Any:
    """Predictions as dicts of their fields, and values as those that JSON has; any other object as it is."""
    if isinstance(value, dspy.Example):
        return {name: plain(field) for name, field in value.items(include_dspy=True)}
    if value is pd.NaT:
        return None
    if isinstance(value, _LEAVES):
        # By the names of its fields, which the model's signature has.
        return to_jsonable_python(value, bytes_mode="base64", by_alias=False)
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, _SEQUENCES):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        # Of nanoseconds Python has no type.
        return plain((value.astype("datetime64[us]") if value.dtype.kind == "M" else value).tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _key(key: Any) -> Any:
    """A key that JSON can have, or that is written as one."""
    return (
        key if isinstance(key, (str, int, float, bool, type(None))) and not isinstance(key, Enum) else str(plain(key))
    )


def table_of(answers: Sequence[Any], index: pd.Index) -> pd.DataFrame | pd.Series:
    """Answers of the rows of a table: a table where each is a dict, else a series; with the same index."""
    if not all(isinstance(answer, Mapping) for answer in answers):
        return pd.Series(list(answers), index=index, dtype=object)
    columns = dict.fromkeys(name for answer in answers for name in answer)
    return pd.DataFrame({name: _column([answer.get(name) for answer in answers], index) for name in columns}, index)


def _column(values: list[Any], index: pd.Index) -> pd.Series:
    kinds = {type(value) for value in values}
    kind = _TYPES.get(kinds.pop(), object) if len(kinds) == 1 else object
    if kind == _TYPES[int] and not all(-_LARGEST <= value < _LARGEST for value in values):
        kind = object
    return pd.Series(values, index=index, dtype=kind)

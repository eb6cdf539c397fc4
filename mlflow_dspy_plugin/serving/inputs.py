"""What `pyfunc.predict` is given -> rows, and each row -> the arguments of one call of the program. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.programs.fields import Fields, check_fields, only_input
from mlflow_dspy_plugin.serving.field_values import declared_values, is_nothing

_WHAT = "The input"


@dataclass(frozen=True)
class Rows:
    """The rows of an input, each made when it is asked for.

    Attributes:
        count: How many there are.
        at: A row by its place: a dict of fields, or a bare value for a program of one input.
        index: The labels of a table's or a series' rows; None of rows without.
    """

    count: int
    at: Callable[[int], Any]
    index: pd.Index | None = None


def rows_of(data: Any) -> Rows:
    """The rows of what `predict` was given.

    Args:
        data: A dict, or a bare value: one row. A DataFrame, Series, list, tuple or numpy array: one of each element.

    Raises:
        InputError: If there are none, or a table has several columns without names.
    """
    rows = _rows(data)
    if not rows.count:
        raise InputError(f"{_WHAT} ({type(data).__name__}) has no rows. Give at least one.")
    return rows


def arguments_of(value: Any, fields: Fields) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of the call for one row.

    Args:
        value: A dict of the program's fields, or a bare value for a program of one input.
        fields: What the program takes.

    Raises:
        InputError: If the fields are not the program's.
    """
    if isinstance(value, Mapping):
        check_fields(value, fields, _WHAT)
        return (), declared_values({name: python_values(item) for name, item in value.items()}, fields)
    name = only_input(fields, _WHAT)
    return ((value,), {}) if name is None else ((), declared_values({name: value}, fields))


def only_row(data: Any) -> Rows:
    """The rows of an input that has to be one row.

    Raises:
        InputError: If there is not exactly one.
    """
    rows = rows_of(data)
    if rows.count != 1:
        raise InputError(f"{_WHAT} has {rows.count} rows, but one answer is streamed at a time. Give one row.")
    return rows


def _rows(data: Any) -> Rows:
    if isinstance(data, pd.DataFrame):
        return _rows_of_table(data)
    if isinstance(data, pd.Series):
        return Rows(len(data), lambda place: python_values(data.iloc[place]), data.index)
    if isinstance(data, (list, tuple)) or (isinstance(data, np.ndarray) and data.ndim):
        return Rows(len(data), lambda place: _unwrapped(data[place]))
    return Rows(1, lambda place: python_values(data))


def _rows_of_table(table: pd.DataFrame) -> Rows:
    # Column by column: a row as a whole would make floats of integers.
    if len(table.columns) and all(isinstance(column, str) for column in table.columns):
        columns = {name: table[name] for name in table.columns}
        return Rows(len(table), lambda place: _present(columns, place), table.index)
    if len(table.columns) != 1:
        raise InputError(
            f"{_WHAT} is a table of {len(table.columns)} columns, not all of them named. Name each after a field "
            "of the program."
        )
    return Rows(len(table), lambda place: python_values(table.iloc[place, 0]), table.index)


def _present(columns: Mapping[str, pd.Series], place: int) -> dict[str, Any]:
    """A row of a table, without the fields that other rows have and this one has not.

    pandas puts NaN there, which among numbers is a number.
    """
    row = {name: column.iloc[place] for name, column in columns.items()}
    return {
        name: python_values(value)
        for name, value in row.items()
        if value is None or not is_nothing(value) or pd.api.types.is_float_dtype(columns[name])
    }


def _unwrapped(value: Any) -> Any:
    """A row of a list or an array; in an array of one column it is that value."""
    return python_values(value[0] if isinstance(value, np.ndarray) and value.shape == (1,) else value)


def python_values(value: Any) -> Any:
    """Python's own values in place of numpy's, which MLflow's check of the schema makes of them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return python_values(value.tolist()) if value.dtype == object else value.tolist()
    if type(value) is dict:
        return {key: python_values(item) for key, item in value.items()}
    return [python_values(item) for item in value] if type(value) is list else value

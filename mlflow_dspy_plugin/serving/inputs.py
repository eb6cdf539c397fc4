"""What `pyfunc.predict` is given -> the arguments of one call of the program. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.programs.fields import Fields, check_fields, only_input

_WHAT = "The input"


def arguments_of(data: Any, fields: Fields) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of one call.

    Args:
        data: A dict of the program's fields, a DataFrame of one row, or a bare value for a
            program of one input, as it is or as MLflow's schema enforcement wraps it.
        fields: What the program takes.

    Raises:
        InputError: If there is not exactly one row, or its fields are not the program's.
    """
    value = _one_row(data)
    if isinstance(value, Mapping):
        check_fields(value, fields, _WHAT)
        return (), {name: _plain(item) for name, item in value.items()}
    name = only_input(fields, _WHAT)
    return ((value,), {}) if name is None else ((), {name: value})


def _one_row(data: Any) -> Any:
    """The one row of a table as a dict (or as a bare value where its column has no name)."""
    if isinstance(data, pd.DataFrame):
        _check_single(len(data))
        # Column by column: a row as a whole would make floats of integers.
        if all(isinstance(column, str) for column in data.columns):
            return {name: _plain(data[name].iloc[0]) for name in data.columns}
        _check_single(len(data.columns), "column without a name")
        return _plain(data.iloc[0, 0])
    if isinstance(data, (list, tuple, np.ndarray, pd.Series)):
        _check_single(len(data))
        return _one_row(data.iloc[0] if isinstance(data, pd.Series) else data[0])
    return _plain(data)


def _check_single(count: int, what: str = "row") -> None:
    if count != 1:
        raise InputError(
            f"{_WHAT} has {count} {what}s, but the program is called with one at a time. Give one "
            f"{what}, or call predict for each."
        )


def _plain(value: Any) -> Any:
    """Python's own values in place of numpy's, which MLflow's check of the schema makes of them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if type(value) is list else value

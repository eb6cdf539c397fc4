"""What a caller gives to be predicted -> the body of a request. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

# A dict with one of these is a body already: MLflow's forms, and those of OpenAI's two protocols.
WHOLE = {"inputs", "instances", "dataframe_split", "dataframe_records", "messages", "input"}


def payload_of(inputs: Any) -> dict[str, Any]:
    """The body of a request.

    Args:
        inputs: A DataFrame, a Series, an array or a list: rows. A dict of the program's fields, or a bare value for a
            program of one input: one row. A dict with one of the keys in `WHOLE`: a body, which stays as it is.
    """
    if isinstance(inputs, pd.DataFrame):
        return _of_table(inputs)
    if isinstance(inputs, Mapping):
        return dict(inputs) if WHOLE & set(inputs) else {"dataframe_records": [dict(inputs)]}
    if isinstance(inputs, (pd.Series, np.ndarray, tuple)):
        inputs = list(inputs)
    return {"inputs": inputs}


def _of_table(table: pd.DataFrame) -> dict[str, Any]:
    if len(table.columns) == 1 and table.columns[0] in WHOLE:
        return _of_whole(table[table.columns[0]])
    # JSON has no NaN.
    known = table.astype(object).where(table.notna(), None)
    return {"dataframe_split": known.to_dict(orient="split")}


def _of_whole(column: pd.Series) -> dict[str, Any]:
    """A body that MLflow's command line has had pandas read: of a list it has made rows, of a dict their labels."""
    cells = column.tolist() if isinstance(column.index, pd.RangeIndex) else column.to_dict()
    return {column.name: cells}

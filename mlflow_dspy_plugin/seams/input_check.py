"""How MLflow's check of the model's signature reads an input that is one dict."""

import functools
from collections.abc import Mapping
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.seams.patch import patch

_CHECK = "_enforce_schema"
_COLUMNS = (list, tuple, np.ndarray, pd.Series)


@functools.cache
def read_dicts_as_rows() -> None:
    """Have MLflow take a dict of a model of this package for one row, unless each of its values is a column.

    Where a value is itself a dict, and no field of the signature is a list or an object, MLflow makes a row of each of
    that one's keys.
    """
    if hasattr(mlflow.pyfunc, _CHECK):
        patch(mlflow.pyfunc, _CHECK, _reading_rows)


def _reading_rows(original: Any) -> Any:
    def _enforce_schema(data: Any, schema: Any, flavor: str | None = None) -> Any:
        is_row = flavor == names.PACKAGE and isinstance(data, Mapping) and schema.has_input_names()
        if is_row and not all(isinstance(value, _COLUMNS) for value in data.values()):
            data = pd.DataFrame([data])
        return original(data, schema, flavor)

    return _enforce_schema

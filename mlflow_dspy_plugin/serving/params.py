"""The `params` of one request: what each asks for. Pure."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import InputError

RAISE, ROW = "raise", "row"
_ON_ERROR = (RAISE, ROW)


@dataclass(frozen=True)
class Params:
    """What a request asks for.

    Attributes:
        lm: Arguments of `dspy.LM` that hold for this request alone.
        on_error: Whether a row that fails raises for all, or is answered by its error.
        return_trace_id: Whether each answer tells the trace that it was made in.
        status_messages: Whether a stream tells which tools are called.
    """

    lm: Mapping[str, Any] = field(default_factory=dict)
    on_error: str = RAISE
    return_trace_id: bool = False
    status_messages: bool = False


def params_of(given: Mapping[str, Any] | None, models: Collection[str]) -> Params:
    """Read the params of a request; MLflow has checked their types against the model's signature.

    Args:
        given: Name -> value; None stands for one that was not given.
        models: The language models that a request may ask for.

    Raises:
        InputError: If a value is none that the param can have.
    """
    asked = {name: value for name, value in (given or {}).items() if value is not None}
    on_error, with_trace = asked.pop(names.PARAM_ON_ERROR, RAISE), asked.pop(names.PARAM_TRACE_ID, False)
    with_status = asked.pop(names.PARAM_STATUS, False)
    if on_error not in _ON_ERROR:
        raise InputError(f"The param {names.PARAM_ON_ERROR!r} is {on_error!r}; it can be {' or '.join(_ON_ERROR)}.")
    if (model := asked.get(names.PARAM_MODEL)) is not None and model not in models:
        allowed = f"it may ask for {', '.join(models)}" if models else "it was logged with no allowed_models"
        raise InputError(f"The param {names.PARAM_MODEL!r} is {model!r}, which this model does not allow: {allowed}.")
    for name, value in asked.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"The param {name!r} is {value}, which cannot be sent. Give a finite number.")
    return Params(asked, on_error, with_trace, with_status)

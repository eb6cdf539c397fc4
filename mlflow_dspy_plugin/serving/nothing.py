"""What a program may return that is no answer, and the errors that say so."""

import types
import typing
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import CallError
from mlflow_dspy_plugin.programs.fields import Fields
from mlflow_dspy_plugin.seams.lm_errors import UNREADABLE
from mlflow_dspy_plugin.seams.programs import is_of_dspy

_PROMISES = (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)


def check_answered(outputs: Any) -> None:
    """Refuse what a chat cannot be answered with.

    Raises:
        CallError: If the program returned nothing, or something that is yet to be run.
    """
    if isinstance(outputs, _PROMISES):
        raise CallError(
            f"The program returned no answer, but a {type(outputs).__name__}. Have it return a text or a prediction."
        )
    if _is_nothing(outputs):
        raise CallError("The program returned no answer. Have it return a text or a prediction, or raise what failed.")


def check_read(outputs: Any, program: dspy.Module, fields: Fields) -> None:
    """Refuse a prediction of DSPy's own modules without any of the fields that they promise.

    dspy 3.0 makes one of an empty answer of a language model; later releases raise.

    Raises:
        CallError: If it is one.
    """
    promised = fields.outputs or {}
    if any(_may_be_none(type_) for type_ in promised.values()) or not is_of_dspy(
        getattr(type(program), "forward", None)
    ):
        return
    if promised and isinstance(outputs, dspy.Prediction) and _is_nothing(outputs):
        raise CallError(f"{UNREADABLE.what}. It has none of the fields {list(promised)}.", UNREADABLE.code)


def _is_nothing(outputs: Any) -> bool:
    if isinstance(outputs, (list, tuple)):
        return all(map(_is_nothing, outputs))
    if isinstance(outputs, (Mapping, dspy.Example)):
        return all(value is None for value in outputs.values())
    return outputs is None


def _may_be_none(type_: Any) -> bool:
    return type_ is Any or type_ is type(None) or type(None) in typing.get_args(type_)

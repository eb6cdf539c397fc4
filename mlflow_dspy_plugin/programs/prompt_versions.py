"""Which version of a prompt of MLflow's registry a predictor says."""

from collections.abc import Mapping
from typing import Any

import dspy
import pydantic

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.programs.by_identity import ByIdentity
from mlflow_dspy_plugin.seams import prompts as seam

# By the signature, which is the predictor's own and which copies of it share; with what was said.
_versions: ByIdentity[tuple[Any, Any]] = ByIdentity()


def remember_version(predictor: dspy.Predict, version: Any) -> None:
    """Note the version that was laid over a predictor."""
    said = attempt(lambda: _said_by(predictor), lambda error: None)
    if said is not None:
        _versions.set(predictor.signature, (version, said))


def version_of(predictor: dspy.Predict) -> Any | None:
    """The version that a predictor says; None where it says none, or something else since."""
    known = _versions.get(predictor.signature)
    if known is None or not attempt(lambda: bool(known[1] == _said_by(predictor)), lambda error: False):
        return None
    return known[0]


def _said_by(predictor: dspy.Predict) -> list[Any]:
    """What it says, as it is now: signatures and demos can be changed where they are."""
    signature = predictor.signature
    words = [seam.words_of(field) for field in signature.fields.values()]
    return [signature.instructions, words, _as_is(seam.decisions_of(predictor)), _as_is(predictor.demos)]


def _as_is(value: Any) -> Any:
    """A value without the containers that may be changed; what is in them is shared."""
    if isinstance(value, dspy.Example):
        return type(value), _as_is(dict(value.items(include_dspy=True)))
    if isinstance(value, pydantic.BaseModel):
        return type(value), _as_is(vars(value)), _as_is(value.model_extra)
    if isinstance(value, Mapping):
        return {key: _as_is(item) for key, item in value.items()}
    return [_as_is(item) for item in value] if isinstance(value, (list, tuple)) else value

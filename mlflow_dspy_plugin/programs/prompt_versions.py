"""Which version of a prompt of MLflow's registry a predictor says."""

from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.programs.by_identity import ByIdentity

# By the signature, which is the predictor's own and which copies of it share; with the demos.
_versions: ByIdentity[tuple[Any, list[Any]]] = ByIdentity()


def remember_version(predictor: dspy.Predict, version: Any) -> None:
    """Note the version that was laid over a predictor."""
    _versions.set(predictor.signature, (version, list(predictor.demos)))


def version_of(predictor: dspy.Predict) -> Any | None:
    """The version that a predictor says; None where it says none, or something else since."""
    known = _versions.get(predictor.signature)
    if known is None or not attempt(lambda: bool(known[1] == predictor.demos), lambda error: False):
        return None
    return known[0]

"""What was tried: a program as its predictors' signatures, instructions and demos, known by a digest."""

import hashlib
import json
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.tracking.plain_values import plain, text


def picture_of(program: Any) -> dict[str, Any] | None:
    """A program as in the record; None where it has no predictors that can be read."""
    return attempt(lambda: _picture(program), lambda error: None)


def digest_of(picture: dict[str, Any]) -> str:
    """A short name for equal programs."""
    return hashlib.sha256(json.dumps(picture, sort_keys=True).encode()).hexdigest()[:16]


def _picture(program: dspy.Module) -> dict[str, Any]:
    predictors = {name: _predictor(each) for name, each in program.named_predictors()}
    return {"class": type(program).__name__, "predictors": predictors}


def _predictor(predictor: Any) -> dict[str, Any]:
    signature = predictor.signature
    # How the answers of a decision are read (dspy >= 3.4), where it was changed.
    decisions = {"fields": plain(predictor.fields)} if getattr(predictor, "fields", None) else {}
    return {
        "signature": signature.signature,
        "instructions": text(signature.instructions),
        "demos": [plain(demo) for demo in predictor.demos],
        **decisions,
    }

"""What was tried: a program as its predictors' signatures, instructions, words for fields and demos, by a digest."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.tracking.plain_values import plain, text

# Of each field of a signature.
_FIELD_TEXTS = ("prefix", "desc")


def picture_of(program: Any) -> dict[str, Any] | None:
    """A program as in the record; None where it has no predictors that can be read."""
    return attempt(lambda: _picture(program), lambda error: None)


def digest_of(picture: dict[str, Any]) -> str:
    """A short name for equal programs."""
    return hashlib.sha256(json.dumps(picture, sort_keys=True).encode()).hexdigest()[:16]


def _picture(program: dspy.Module) -> dict[str, Any]:
    predictors = {name: _predictor(each) for name, each in program.named_predictors()}
    return {"class": type(program).__name__, "predictors": predictors}


def _said(field: Any) -> dict[str, str]:
    """What a prompt says of a field, which optimizers may change."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    return {name: text(extra[name]) for name in _FIELD_TEXTS if extra.get(name) is not None}


def _predictor(predictor: Any) -> dict[str, Any]:
    signature = predictor.signature
    # How the answers of a decision are read (dspy >= 3.4), where it was changed.
    decisions = {"fields": plain(predictor.fields)} if getattr(predictor, "fields", None) else {}
    return {
        "signature": signature.signature,
        "instructions": text(signature.instructions),
        "fields_said": {name: _said(field) for name, field in signature.fields.items()},
        "demos": [plain(demo) for demo in predictor.demos],
        **decisions,
    }

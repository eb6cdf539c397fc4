"""What this process is allowed to load: data alone, code, or pickles too."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.plain.audit import Audit

# What a model can be, from what can do least to what can do most.
DATA_ONLY, WITH_CODE, PICKLED = "data", "code", "pickle"
_KINDS = (DATA_ONLY, WITH_CODE, PICKLED)
_DESCRIPTIONS = {WITH_CODE: "brings or names code", PICKLED: "is pickled"}


def kind_of(section: Mapping[str, Any], audited: Audit | None) -> str:
    """What kind of model it is, found without importing or making anything of it.

    Args:
        section: The flavor's section of its MLmodel file.
        audited: What the audit found in its plain data, if it has any.
    """
    serialization = section.get(names.KEY_SERIALIZATION)
    if serialization == names.FORMAT_CODE:
        return WITH_CODE
    if serialization != names.FORMAT_JSON or audited is None:
        return PICKLED
    return WITH_CODE if audited.brings_code or section.get(names.KEY_CODE) else DATA_ONLY


def check_trust(folder: Path, section: Mapping[str, Any], audited: Audit | None) -> None:
    """Refuse a model that the environment forbids, before any of its code is found, let alone run.

    Raises:
        ModelFolderError: If it is of a kind that MLFLOW_DSPY_TRUST or MLFLOW_ALLOW_PICKLE_DESERIALIZATION rules out.
    """
    trusted = os.environ.get(names.ENV_TRUST, "").strip().lower() or PICKLED
    if trusted not in _KINDS:
        raise ModelFolderError(f"{names.ENV_TRUST} is {trusted!r}. Set it to one of {', '.join(_KINDS)}, or unset it.")
    kind = kind_of(section, audited)
    if _KINDS.index(kind) > _KINDS.index(trusted):
        raise ModelFolderError(
            f"The model in {folder} {_DESCRIPTIONS[kind]}, and {names.ENV_TRUST} is {trusted!r} here. "
            f"mlflow.dspy.inspect_model tells what it names. Set {names.ENV_TRUST} to {kind!r} if you trust whoever "
            "logged it."
        )
    if kind == PICKLED and os.environ.get(names.ENV_ALLOW_PICKLE, "true").strip().lower() in ("false", "0"):
        raise ModelFolderError(
            f"The model in {folder} is pickled, and {names.ENV_ALLOW_PICKLE} is false here. Set it "
            "to true if you trust whoever logged this model, or log it with serialization_format='json'."
        )

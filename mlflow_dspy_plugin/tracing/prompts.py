"""What a trace says of the versions of prompts that its predictors have used."""

from typing import Any

import dspy

from mlflow_dspy_plugin.programs.prompt_versions import version_of
from mlflow_dspy_plugin.seams import prompts as seam
from mlflow_dspy_plugin.tracing.calls import Call


def link(call: Call, module: Any) -> None:
    """Link the span of a predictor, and its trace, to the version of the prompt that it says, if it was loaded."""
    version = version_of(module) if isinstance(module, dspy.Predict) else None
    if version is not None:
        seam.link(call.span, version)

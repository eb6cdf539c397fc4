"""`load_prompts`: versions of MLflow's prompt registry are laid over a program."""

from collections.abc import Mapping
from typing import Any

import dspy
import mlflow

from mlflow_dspy_plugin.errors import PromptError
from mlflow_dspy_plugin.programs.prompt_versions import remember_version
from mlflow_dspy_plugin.prompts.predictors import Learnt, learnt_from
from mlflow_dspy_plugin.prompts.register import checked
from mlflow_dspy_plugin.prompts.versions import Wanted
from mlflow_dspy_plugin.prompts.wording import read


def load_prompts(program: dspy.Module, uri: str) -> dspy.Module:
    """Lay prompts of MLflow's registry over a program, in place.

    Traces of the program are linked to the versions from then on, as long as it says what they say, and until its state
    is loaded (`load_state`, or a model that was logged of it); so is the active run. A prompt that was written by hand,
    without the sections that `register_prompts` writes, is the instructions of its predictor; a variable in it must be
    one of its inputs, and is written `name`, as DSPy speaks of fields.

    Args:
        program: The program that they were registered from, or one whose predictors have the same names and fields.
        uri: `prompts:/<name>@<alias>`, `prompts:/<name>/<version>` or `prompts:/<name>@latest`, with the name that
            was given to `register_prompts`, and not that of one predictor's prompt.

    Returns:
        The program.

    Raises:
        PromptError: If a prompt is missing, cannot be read, or does not fit its predictor, or they are of several
            registrations; the program is as it was.
    """
    found = Wanted.of(uri).find(checked(program))
    lay_over(program, found)
    run = mlflow.active_run()
    for version in found.values() if run is not None else ():
        mlflow.MlflowClient().link_prompt_version_to_run(run.info.run_id, version)
    return program


def lay_over(program: dspy.Module, versions: Mapping[str, Any]) -> None:
    """Lay versions of prompts over the predictors of these names.

    Raises:
        PromptError: If one cannot be read or does not fit; the program is as it was then.
    """
    predictors = dict(program.named_predictors())
    learnt = {name: _learnt(predictors[name], version) for name, version in versions.items()}
    for name, version in versions.items():
        learnt[name].lay_over(predictors[name])
        remember_version(predictors[name], version)


def _learnt(predictor: dspy.Predict, version: Any) -> Learnt:
    where = f"{version.name!r}, version {version.version},"
    if not isinstance(version.template, str):
        raise PromptError(
            f"The prompt {where} is one of chat messages. Instructions of a predictor are a text; register it as one."
        )
    return learnt_from(read(version.template, where), Learnt.of(predictor), where)

"""`register_prompts`: what a program's predictors say becomes versions in MLflow's prompt registry."""

import contextlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import dspy
import mlflow
from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import PromptVersion
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import attempt, warn
from mlflow_dspy_plugin.errors import PromptError, SecretError
from mlflow_dspy_plugin.prompts.predictors import text_of
from mlflow_dspy_plugin.prompts.versions import prompt_names
from mlflow_dspy_plugin.prompts.wording import parts_of, read
from mlflow_dspy_plugin.redaction import REDACTED, environment_secrets, looks_secret, redact_text
from mlflow_dspy_plugin.seams import prompts as seam


def register_prompts(
    program: dspy.Module,
    name: str,
    *,
    commit_message: str | None = None,
    tags: Mapping[str, str] | None = None,
    alias: str | None = None,
    run_id: str | None = None,
) -> dict[str, PromptVersion]:
    """Register what the predictors of a program say as versions of prompts.

    The text of a prompt has the instructions, what is said of the fields, and the demos; its variables are the input
    fields. `load_prompts` lays it over a program again, so that it sends its language model the same bytes.

    Args:
        program: The program, compiled or not; it stays as it is.
        name: The name of the prompt, if the program has one predictor. If it has several, each has a prompt of its
            own, `<name>.<predictor>`: `qa.draft.predict`, or `qa.steps.0` for the predictor `steps[0]`.
        commit_message: What has changed, for people.
        tags: Tags of the versions, beside those that say of what program, predictor, signature and run they are.
        alias: An alias that is to mean these versions, once all of them are there. If it cannot be set for one, it
            means what it meant before.
        run_id: The run that found them, such as `TrackedOptimization.run_id`; the active one by default. It is linked
            to the versions.

    Returns:
        The versions, by the name of the predictor.

    Raises:
        PromptError: If it is no program, or a predictor cannot stand in the text of a prompt, or not within the
            characters that MLflow takes (100,000), or the registry has a model of the name, or the alias cannot be one,
            or there is no such run; nothing is registered then.
        SecretError: If one says a secret; nothing is registered then.
    """
    named = prompt_names(checked(program), name)
    predictors = dict(program.named_predictors())
    texts = {each: _text(predictors[each], prompt) for each, prompt in named.items()}
    _check_free(named.values())
    run_id = run_id or _active_run()
    _check_alias(alias)
    _check_run(run_id)
    client, versions, registration = mlflow.MlflowClient(), {}, uuid.uuid4().hex
    for each, text in texts.items():
        said_of = {**(tags or {}), **_tags(program, each, predictors[each], run_id, registration)}
        scrubbed = {key: _scrubbed(str(value)) for key, value in said_of.items()}
        message = commit_message and _scrubbed(commit_message)
        versions[each] = client.register_prompt(named[each], text, commit_message=message, tags=scrubbed)
    for version in versions.values() if run_id is not None else ():
        client.link_prompt_version_to_run(run_id, version)
    if alias is not None:
        _set_alias(alias, versions.values())
    return versions


def checked(program: Any) -> dspy.Module:
    """The program.

    Raises:
        PromptError: If it is none.
    """
    if not isinstance(program, dspy.Module):
        raise PromptError(f"Prompts are those of a dspy.Module, but this is a {type(program).__name__}.")
    return program


def _text(predictor: dspy.Predict, prompt: str) -> str:
    text = text_of(predictor, prompt)
    if len(text) > seam.MOST_CHARACTERS:
        part, size = max(parts_of(read(text, prompt)).items(), key=lambda each: each[1])
        raise PromptError(
            f"The prompt {prompt} would have {len(text):,} characters, of which {part} has {size:,}; MLflow takes "
            f"{seam.MOST_CHARACTERS:,}. Nothing was registered. Take fewer or shorter demos."
        )
    if looks_secret(text, environment_secrets().values()):
        raise SecretError(
            f"The prompt {prompt} would hold a text that looks like a secret. Nothing was registered. Take it out of "
            "the instructions and the demos."
        )
    return text


def _scrubbed(text: str) -> str:
    for secret in environment_secrets().values():
        text = text.replace(secret, REDACTED)
    return redact_text(text)


def _check_free(prompts: Iterable[str]) -> None:
    taken = next(filter(seam.is_model, prompts), None)
    if taken is not None:
        raise PromptError(
            f"The registry has a model {taken!r}, and no prompt can have its name. Nothing was registered. Take "
            "another name for the prompts."
        )


def _set_alias(alias: str, versions: Iterable[PromptVersion]) -> None:
    client = mlflow.MlflowClient()
    with contextlib.ExitStack() as undone:
        for version in versions:
            before = seam.version_at(version.name, f"@{alias}")
            # It may be set though the answer of a server was lost.
            undone.callback(_put_back, client, version.name, alias, before)
            client.set_prompt_alias(version.name, alias, version.version)
        undone.pop_all()


def _put_back(client: mlflow.MlflowClient, name: str, alias: str, before: PromptVersion | None) -> None:
    def put() -> None:
        if before is None:
            client.delete_prompt_alias(name, alias)
        else:
            client.set_prompt_alias(name, alias, before.version)

    attempt(put, lambda error: warn("The alias %r of the prompt %r may mean a new version now: set it.", alias, name))


def _check_alias(alias: str | None) -> None:
    if alias is None:
        return
    try:
        seam.check_alias(alias)
    except (MlflowException, TypeError, AttributeError) as error:
        raise PromptError(f"{alias!r} cannot be an alias ({error}). Nothing was registered.") from error


def _check_run(run_id: str | None) -> None:
    if run_id is None:
        return
    try:
        stage = mlflow.MlflowClient().get_run(run_id).info.lifecycle_stage
    except MlflowException as error:
        raise PromptError(f"The run {run_id!r} cannot be had ({error.message}). Nothing was registered.") from error
    if stage != LifecycleStage.ACTIVE:
        raise PromptError(f"The run {run_id!r} is deleted. Nothing was registered.")


def _active_run() -> str | None:
    run = mlflow.active_run()
    return None if run is None else run.info.run_id


def _tags(
    program: dspy.Module, name: str, predictor: dspy.Predict, run_id: str | None, registration: str
) -> dict[str, str]:
    return {
        names.PROMPT_REGISTRATION: registration,
        names.PROMPT_PROGRAM: type(program).__qualname__,
        names.PROMPT_PREDICTOR: name,
        names.PROMPT_SIGNATURE: predictor.signature.signature,
        **({names.PROMPT_RUN: run_id} if run_id is not None else {}),
    }

"""MLflow's prompt registry, and what it links to traces, where releases differ; DSPy's usual words for a field."""

import json
from typing import Any

import dspy
import mlflow
from dspy.signatures.signature import infer_prefix
from mlflow.entities import LiveSpan
from mlflow.entities.model_registry import PromptVersion
from mlflow.exceptions import MlflowException
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.trace_manager import InMemoryTraceManager
from mlflow.utils.validation import (
    MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH,
    _validate_model_alias_name,
    _validate_model_alias_name_reserved,
)

# Of the text of one prompt, in characters.
MOST_CHARACTERS = MAX_MODEL_REGISTRY_TAG_VALUE_LENGTH
# MLflow 3.4 has none.
_SPAN_PROMPTS = getattr(SpanAttributeKey, "LINKED_PROMPTS", None)

# Stores differ in the code for an alias that is not there.
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}


def usual_words(name: str) -> dict[str, str]:
    """What DSPy says of a field of which nobody has said anything."""
    return {"prefix": f"{infer_prefix(name)}:", "description": f"${{{name}}}"}


def words_of(field: Any) -> dict[str, Any]:
    """What DSPy says of a field."""
    extra = field.json_schema_extra
    return {"prefix": extra["prefix"], "description": extra["desc"]}


def with_words(signature: type[dspy.Signature], name: str, words: dict[str, str]) -> type[dspy.Signature]:
    """A signature that says this of a field."""
    return signature.with_updated_fields(name, prefix=words["prefix"], desc=words["description"])


def with_instructions(signature: type[dspy.Signature], instructions: str) -> type[dspy.Signature]:
    """A new signature that says exactly this: DSPy takes the indentation of lines for that of a docstring."""
    made = signature.with_instructions(instructions)
    for text in (instructions, f"\n{instructions}"):
        if made.instructions == instructions:
            break
        made.instructions = text
    return made


def decisions_of(predictor: dspy.Predict) -> Any:
    """How the answers of a decision are read (dspy >= 3.4)."""
    return getattr(predictor, "fields", None) or None


def set_decisions(predictor: dspy.Predict, decisions: Any) -> None:
    """Set it, where DSPy has it."""
    if hasattr(predictor, "fields"):
        predictor.fields = decisions or {}


def input_keys(example: dspy.Example) -> tuple[str, ...] | None:
    """The names of the inputs of an example; None where it does not say."""
    keys = example._input_keys
    return None if keys is None else tuple(sorted(keys))


def is_model(name: str) -> bool:
    """Whether the registry has a model of this name, as far as it tells: it has models and prompts under one name."""
    try:
        return bool(mlflow.MlflowClient().get_registered_model(name))
    except MlflowException:
        return False


def check_alias(alias: str) -> None:
    """Check that a version can have this alias.

    Raises:
        MlflowException: If not; what a registry finds only when it is set.
    """
    _validate_model_alias_name(alias)
    _validate_model_alias_name_reserved(alias)


def version_at(name: str, place: str) -> PromptVersion | None:
    """A version of a prompt as it is now in the registry, past every cache; None if there is none.

    Args:
        name: The name of the prompt.
        place: A number, or an alias after "@".
    """
    client = mlflow.MlflowClient()
    try:
        if place.startswith("@"):
            return client.get_prompt_version_by_alias(name, place[1:])
        return client.get_prompt_version(name, place)
    except MlflowException as error:
        # Releases before 3.5 have the code in the cause alone.
        codes = {getattr(each, "error_code", None) for each in (error, error.__cause__)}
        if codes & _MISSING:
            return None
        raise


def link(span: LiveSpan, version: PromptVersion) -> None:
    """Say of a span and its trace that a version of a prompt was used."""
    InMemoryTraceManager.get_instance().register_prompt(span.trace_id, version)
    if _SPAN_PROMPTS is not None:
        span.set_attribute(_SPAN_PROMPTS, json.dumps([{"name": version.name, "version": str(version.version)}]))

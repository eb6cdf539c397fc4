"""Which environment variables the keys of language models are read from, and one line where one is missing.

The table is read out of LiteLLM 1.83 and 1.106 and of dspy 3.4's own client: a provider is one line,
with every variable that one of them takes, the one that its documentation names first.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.programs.language_models import language_models
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.seams.dspy import reads_keys_by_itself

_logger = logging.getLogger(__name__)

_AZURE = (
    *("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_PASSWORD"),
    "AZURE_FEDERATED_TOKEN_FILE",
)
_GEMINI = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
_AWS = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK")
_MOONSHOT = ("MOONSHOT_API_KEY", "MOONSHOTAI_API_KEY")
# Any one of the variables is enough.
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "ai21": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "azure": _AZURE,
    "azure_ai": ("AZURE_AI_API_KEY", *_AZURE),
    "baseten": ("BASETEN_API_KEY",),
    "bedrock": _AWS,
    "cerebras": ("CEREBRAS_API_KEY",),
    "codestral": ("CODESTRAL_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "databricks": ("DATABRICKS_TOKEN", "DATABRICKS_API_KEY", "DATABRICKS_CLIENT_SECRET"),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": _GEMINI,
    "groq": ("GROQ_API_KEY",),
    "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY"),
    "hyperbolic": ("HYPERBOLIC_API_KEY",),
    "meta": ("META_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": _MOONSHOT,
    "moonshotai": _MOONSHOT,
    "nebius": ("NEBIUS_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openai-chat": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "sagemaker": _AWS,
    "sambanova": ("SAMBANOVA_API_KEY",),
    "text-completion-openai": ("OPENAI_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "vertex_ai": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
# Their own clients find keys in files and on the machine too, so a variable that is not set tells nothing.
_FOUND_ELSEWHERE = {"bedrock", "databricks", "sagemaker", "vertex_ai"}
# Names of models that are known without a provider before them.
_FAMILIES = {"gpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "claude-": "anthropic"}
# The arguments of `dspy.LM` that are a key, or fetch one.
_KEY_ARGUMENTS = ("api_key", "azure_ad_token", "azure_ad_token_provider")


def key_variables(model: str) -> tuple[str, ...]:
    """The environment variables of which one holds the key of a model; none where it needs no key.

    Args:
        model: The name that `dspy.LM` takes, such as "openai/gpt-4o-mini".
    """
    return _VARIABLES.get(_provider_of(model), ())


def describe_lms(program: dspy.Module, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe each language model of a program and of its settings, without its secrets.

    Returns:
        For each `where` it stands (a list), its `model`, its `api_base` where it has one, and the
        `variables` of which one holds its key.
    """
    described = []
    for places, lm in _distinct(program, settings):
        described.append({"where": places, "model": redact_text(str(lm.model))})
        if api_base := _api_base(lm):
            described[-1]["api_base"] = redact_text(api_base)
        if variables := _variables_of(lm):
            described[-1]["variables"] = list(variables)
    return described


def warn_of_missing_keys(program: dspy.Module, settings: Mapping[str, Any]) -> None:
    """Log one line for each language model whose key is neither its own nor in the environment.

    Args:
        program: The program, as it was loaded.
        settings: The settings that it will run under, as far as they came with it.
    """
    for places, lm in _distinct(program, settings):
        if _lacks_key(lm):
            _logger.warning(
                "The language model %r (%s) needs a key: set %s.",
                redact_text(lm.model),
                ", ".join(places),
                " or ".join(_variables_of(lm)),
            )


def address_of(arguments: Mapping[str, Any]) -> str | None:
    """The address that a language model with these arguments asks, if it is not its provider's own."""
    address = arguments.get("api_base") or arguments.get("base_url")
    return None if address is None else str(address)


def with_keys_of_here(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a model; in place of a language model whose key is missing, the same one that is set here.

    So a model that was logged in this process answers in it, where its key was given in code and left out.
    """
    saved, here = settings.get("lm"), dspy.settings.lm
    if not isinstance(saved, dspy.BaseLM) or not isinstance(here, dspy.BaseLM) or not _lacks_key(saved):
        return dict(settings)
    is_same = (saved.model, _api_base(saved)) == (here.model, _api_base(here))
    return {**settings, "lm": here if is_same else saved}


def _lacks_key(lm: dspy.BaseLM) -> bool:
    """Whether a language model has no key, neither its own nor in the environment."""
    variables = _variables_of(lm)
    own = any(getattr(lm, "kwargs", {}).get(name) for name in _KEY_ARGUMENTS)
    if not variables or own or _provider_of(lm.model) in _FOUND_ELSEWHERE:
        return False
    return not any(os.environ.get(variable) for variable in variables)


def _distinct(program: dspy.Module, settings: Mapping[str, Any]) -> Iterable[tuple[list[str], dspy.BaseLM]]:
    """Each language model once, with all of its places; optimizers leave many equal copies of one."""
    found: dict[Any, tuple[list[str], dspy.BaseLM]] = {}
    for value, name in ((dict(settings), "settings"), (program, "program")):
        for where, lm in language_models(value, name):
            same = (type(lm), str(lm.model), _api_base(lm))
            found.setdefault(same, ([], lm))[0].append(redact_text(where))
    return found.values()


def _variables_of(lm: dspy.BaseLM) -> tuple[str, ...]:
    return key_variables(lm.model) if reads_keys_by_itself(lm) else ()


def _api_base(lm: dspy.BaseLM) -> str | None:
    return address_of(getattr(lm, "kwargs", {}))


def _provider_of(model: str) -> str:
    provider, slash, _ = model.partition("/")
    if slash:
        return provider
    return next((owner for family, owner in _FAMILIES.items() if model.startswith(family)), "")

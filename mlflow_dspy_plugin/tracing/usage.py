"""Tokens and cost of one LM call, read from what DSPy knows of its result. Pure."""

from collections.abc import Mapping
from typing import Any

from mlflow.tracing.constant import SpanAttributeKey, TokenUsageKey

# Names of MLflow's newer releases, used on all.
_COST = "mlflow.llm.cost"
_TOTAL_COST = "total_cost"
_CACHE_READ_TOKENS = "cache_read_input_tokens"


def attributes_of(result: Any) -> dict[str, Any]:
    """What the span of an LM call says of its price; nothing where DSPy's cache has answered.

    A cost that DSPy does not know is empty: MLflow would else look it up by importing LiteLLM, and
    None breaks its export.

    Args:
        result: What DSPy keeps of the call: an object with `usage` (OpenAI's names), `cache_hit`,
            and `cost` in USD (before dspy 3.4: LiteLLM's response).
    """
    if getattr(result, "cache_hit", False):
        return {}
    cost = _cost_of(result)
    attributes: dict[str, Any] = {_COST: {} if cost is None else {_TOTAL_COST: float(cost)}}
    if tokens := _tokens_of(getattr(result, "usage", None)):
        attributes[SpanAttributeKey.CHAT_USAGE] = tokens
    return attributes


def _cost_of(result: Any) -> float | None:
    if hasattr(result, "cost"):
        return result.cost
    return (getattr(result, "_hidden_params", None) or {}).get("response_cost")


def _tokens_of(usage: Any) -> dict[str, int]:
    counts = _plain(usage)
    tokens = {
        TokenUsageKey.INPUT_TOKENS: counts.get("prompt_tokens"),
        TokenUsageKey.OUTPUT_TOKENS: counts.get("completion_tokens"),
        TokenUsageKey.TOTAL_TOKENS: counts.get("total_tokens"),
        _CACHE_READ_TOKENS: _plain(counts.get("prompt_tokens_details")).get("cached_tokens"),
    }
    return {key: int(count) for key, count in tokens.items() if count is not None}


def _plain(value: Any) -> Mapping[str, Any]:
    """A mapping, whether the provider's library uses mappings, pydantic models or nothing."""
    if isinstance(value, Mapping):
        return value
    return dict(value) if value is not None else {}

"""MLflow's list of prices, where the release has one."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Span
from mlflow.tracing.constant import SpanAttributeKey

from mlflow_dspy_plugin.seams.ended_traces import add_attribute

_USAGE, _COST = SpanAttributeKey.CHAT_USAGE, "mlflow.llm.cost"
# It takes an empty mapping for a cost of nought, and fails on any other JSON; it passes by what is no JSON.
_UNPRICED = ""
# MLflow's name of the tokens -> its name of their price; the rest of the input has the first price.
_RATES = {
    "cache_read_input_tokens": "cache_read_input_token_cost",
    "cache_creation_input_tokens": "cache_creation_input_token_cost",
}


def price_of(model: str | None, provider: str | None, tokens: Mapping[str, int]) -> tuple[float, float] | None:
    """The cost of the input and the output of an LM call in USD; None where the list does not have it.

    MLflow's own function imports LiteLLM where it is installed, which takes seconds, and else may
    ask the network for a newer list: this reads the list that was installed.
    """
    rates = _rates_of(model, provider) or {}
    sent, got = rates.get("input_cost_per_token"), rates.get("output_cost_per_token")
    if sent is None or got is None:
        return None
    special = {name: tokens.get(name, 0) for name in _RATES}
    plain = max(tokens.get("input_tokens", 0) - sum(special.values()), 0)
    cost = plain * sent + sum(count * rates.get(_RATES[name], sent) for name, count in special.items())
    return cost, tokens.get("output_tokens", 0) * got


def _rates_of(model: str | None, provider: str | None) -> Mapping[str, Any] | None:
    if not model or not provider or importlib.util.find_spec("mlflow.utils.providers") is None:
        return None
    read = getattr(importlib.import_module("mlflow.utils.providers"), "_load_bundled_provider", None)
    return read(provider.lower()).get(model.removeprefix(f"{provider}/")) if read is not None else None


def keep_unpriced(span: Span) -> None:
    """Have a store in this process not look for the cost of a call that nobody has a price for.

    It would import LiteLLM, for seconds. A server is to find no cost at all: it does that by itself,
    and what is no JSON fails on the way there.
    """
    attributes = span._span.attributes or {}
    if attributes.get(_USAGE) and not attributes.get(_COST):
        add_attribute(span, _COST, _UNPRICED)

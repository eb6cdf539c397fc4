"""Tokens and cost: of one LM call, and of a whole trace. Pure."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.tracing.constant import SpanAttributeKey, TokenUsageKey

from mlflow_dspy_plugin.seams.prices import price_of

USAGE = SpanAttributeKey.CHAT_USAGE
# Names of MLflow's newer releases, used on all.
COST = "mlflow.llm.cost"
MODEL = "mlflow.llm.model"
PROVIDER = "mlflow.llm.provider"
TRACE_USAGE = "mlflow.trace.tokenUsage"
TRACE_COST = "mlflow.trace.cost"
_INPUT_COST, _OUTPUT_COST, _TOTAL_COST = "input_cost", "output_cost", "total_cost"
CACHE_READ, _CACHE_CREATION = "cache_read_input_tokens", "cache_creation_input_tokens"
# MLflow has no name for them; they are a part of the output.
REASONING = "reasoning_tokens"
RESPONSE_MODEL = "response_model"

# MLflow's name -> where providers' libraries have the figure, and below which name; the first that is there.
_COUNTS: dict[str, tuple[tuple[str | None, str], ...]] = {
    TokenUsageKey.INPUT_TOKENS: ((None, "prompt_tokens"), (None, "input_tokens")),
    TokenUsageKey.OUTPUT_TOKENS: ((None, "completion_tokens"), (None, "output_tokens")),
    TokenUsageKey.TOTAL_TOKENS: ((None, "total_tokens"),),
    CACHE_READ: (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        (None, "cache_read_input_tokens"),
    ),
    _CACHE_CREATION: (
        ("prompt_tokens_details", "cache_creation_tokens"),
        ("input_tokens_details", "cache_creation_tokens"),
        (None, "cache_creation_input_tokens"),
    ),
    REASONING: (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ),
}


def tokens_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """The tokens of an LM call by MLflow's names; what the provider has not told is not there."""
    tokens = {name: int(count) for name, places in _COUNTS.items() if (count := _first(usage, places)) is not None}
    if TokenUsageKey.TOTAL_TOKENS not in tokens and TokenUsageKey.INPUT_TOKENS in tokens:
        sent, got = tokens[TokenUsageKey.INPUT_TOKENS], tokens.get(TokenUsageKey.OUTPUT_TOKENS, 0)
        tokens[TokenUsageKey.TOTAL_TOKENS] = sent + got
    return tokens


def _first(usage: Mapping[str, Any], places: Iterable[tuple[str | None, str]]) -> float | None:
    for group, name in places:
        counts = usage if group is None else usage.get(group)
        if isinstance(counts, Mapping) and _is_number(count := counts.get(name)):
            return count
    return None


def cost_of(usd: Any) -> dict[str, float] | None:
    """The cost of an LM call by MLflow's names; None where it is not known, which is not nought."""
    return {_TOTAL_COST: float(usd)} if _is_number(usd) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def price(attributes: Mapping[str, Any]) -> dict[str, float] | None:
    """What MLflow's list of prices says that an LM call cost; None where it does not know, or DSPy knows better.

    DSPy's figure has no parts: where the list comes to the same sum, it tells them.
    For the thread that delivers traces: reading the list takes milliseconds.

    Args:
        attributes: Those of its span, as values.
    """
    tokens, known = attributes.get(USAGE), (attributes.get(COST) or {}).get(_TOTAL_COST)
    if not tokens:
        return None
    provider = attributes.get(PROVIDER)
    models = (attributes.get(RESPONSE_MODEL), attributes.get(MODEL))
    found = next((costs for model in models if (costs := price_of(model, provider, tokens)) is not None), None)
    if found is None:
        return None
    sent, got = found
    if known is not None and not math.isclose(sent + got, known, rel_tol=1e-6):
        return None
    return {_INPUT_COST: sent, _OUTPUT_COST: got, _TOTAL_COST: sent + got}


# -- of a trace -------------------------------------------------------------------------------


def totals(spans: Iterable[Any]) -> tuple[dict[str, int], dict[str, float]]:
    """The tokens and the cost of a trace: the sum over the LM calls that were made, each once.

    A span below one that has figures tells of the same call again, as where the provider's library
    is traced too; an LM that only calls other LMs has none of its own.

    Returns:
        Both by MLflow's names; empty where nothing is known.
    """
    all_spans = list(spans)
    return _sum(all_spans, USAGE), _sum(all_spans, COST)


def metadata_of(spans: Iterable[Any]) -> dict[str, str]:
    """The totals as the metadata of a trace, under the keys that MLflow >= 3.10 fills by itself."""
    usage, cost = totals(spans)
    told = {TRACE_USAGE: usage, TRACE_COST: cost}
    return {key: json.dumps(value) for key, value in told.items() if value}


def _sum(spans: list[Any], key: str) -> dict[str, Any]:
    figures = {span.span_id: span.get_attribute(key) for span in spans}
    parents = {span.span_id: span.parent_id for span in spans}
    total: dict[str, Any] = {}
    for span_id, found in figures.items():
        if found and not _is_below(parents[span_id], parents, figures):
            # A user may have set anything.
            counts = found.items() if isinstance(found, Mapping) else ()
            for name, count in ((name, count) for name, count in counts if _is_number(count)):
                total[name] = total.get(name, 0) + count
    return total


def _is_below(span_id: str | None, parents: Mapping[str, str | None], figures: Mapping[str, Any]) -> bool:
    """Whether a span, or one above it, has figures."""
    while span_id in parents:
        if figures[span_id]:
            return True
        span_id = parents[span_id]
    return False

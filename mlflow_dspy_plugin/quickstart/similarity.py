"""How well each label fits a text, judged only by what the prompt gives: label names, advice and demos."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from mlflow_dspy_plugin.quickstart.advice import read_advice
from mlflow_dspy_plugin.quickstart.prompt import Prompt
from mlflow_dspy_plugin.quickstart.words import stem, stems

NAME_WEIGHT = 1.0
DEMO_WEIGHT = 1.0
ADVICE_WEIGHT = 0.7
Evidence = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Fit:
    """How well a label fits the question, from 0 to 1, and the stems that speak for it."""

    label: str
    score: float
    shared: frozenset[str]


def fits(prompt: Prompt, field: str, labels: Iterable[str]) -> list[Fit]:
    """Return how well each label fits the question of a prompt, in the order of the labels.

    Args:
        prompt: What is asked.
        field: The output field that holds the label in the demos.
        labels: The labels to choose from.
    """
    evidence = _evidence(prompt, field, labels)
    holders = Counter(word for weights in evidence.values() for word in weights)
    rarity = {word: math.log(1 + len(evidence) / count) for word, count in holders.items()}
    asked = stems(prompt.text)
    # Exact sums, because sets of words come in another order in every process and ties have to stay ties.
    asked_length = math.sqrt(math.fsum(rarity.get(word, 0.0) ** 2 for word in asked))
    return [_fit(label, weights, asked, asked_length, rarity) for label, weights in evidence.items()]


def _evidence(prompt: Prompt, field: str, labels: Iterable[str]) -> Evidence:
    evidence: Evidence = {label: {} for label in labels}
    for label, weights in evidence.items():
        _add(weights, stems(label) or {stem(label.lower())}, NAME_WEIGHT)
    for words, label in read_advice(prompt.instruction):
        _add(evidence.get(label, {}), {stem(word.lower()) for word in words}, ADVICE_WEIGHT)
    for demo in prompt.demos:
        _add(evidence.get(demo.outputs.get(field, ""), {}), stems(demo.text), DEMO_WEIGHT)
    return evidence


def _add(weights: dict[str, float], words: Iterable[str], weight: float) -> None:
    for word in words:
        weights[word] = weights.get(word, 0.0) + weight


def _fit(
    label: str,
    weights: dict[str, float],
    asked: frozenset[str],
    asked_length: float,
    rarity: dict[str, float],
) -> Fit:
    shared = asked & weights.keys()
    product = math.fsum(weights[word] * rarity[word] ** 2 for word in shared)
    length = math.sqrt(math.fsum((weight * rarity[word]) ** 2 for word, weight in weights.items()))
    return Fit(label, product / (length * asked_length) if product else 0.0, shared)

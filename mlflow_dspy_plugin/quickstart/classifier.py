"""An honest small language model: it answers DSPy's prompts by comparing words, and knows only what the prompt says."""

import json
import math
import random
import re
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_dspy_plugin.quickstart.advice import (
    advice_from_trajectories,
    instruction_from_examples,
    instruction_from_reflection,
)
from mlflow_dspy_plugin.quickstart.fields import Field
from mlflow_dspy_plugin.quickstart.prompt import COMPLETED, Prompt, read_prompt
from mlflow_dspy_plugin.quickstart.similarity import Fit, fits

# Fits of short texts differ by about a tenth: this makes the best label likely at temperature 1, but not certain.
SHARPNESS = 12.0
WORDS_IN_SHORT_TEXT = 12
LONGEST_DEMO_LABEL = 40
INTRODUCTION = "I am a small in-context classifier: I choose labels by comparing words, and cannot chat."
ATTEMPT = re.compile(r"Instruction #\d+: (.*?)(?=»|$)", re.DOTALL)


class InContextClassifier:
    """A language model that chooses labels by the words that a text shares with the prompt.

    It knows label names, demos and advice of the form `Texts with words like 'goal', 'coach' are 'sport'.`,
    so its answers get better as an optimizer improves the prompt. It may be shared between threads.

    Args:
        seed: Where the sampling at temperatures above zero starts.
    """

    def __init__(self, seed: int = 0):
        self.seed = seed
        self._times_asked: Counter[int] = Counter()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["InContextClassifier"], tuple[int]]:
        return type(self), (self.seed,)

    def __deepcopy__(self, memo: dict[int, Any]) -> "InContextClassifier":
        # Optimizers copy a language model for each rollout: copies that sampled alike would make the rollouts equal.
        return self

    def complete(self, messages: Iterable[Mapping[str, Any]], temperature: float | None = 0.0) -> str:
        """Return the answer to a chat.

        Args:
            messages: OpenAI chat messages, as DSPy's ChatAdapter or JSONAdapter write them.
            temperature: 0 for the best label; above, labels are drawn, and the same question may get another answer.
        """
        prompt = read_prompt(messages)
        if not prompt.outputs:
            return instruction_from_reflection(prompt.last_message) or INTRODUCTION
        chance = self._chance(prompt.last_message) if temperature else None
        choices = {field.name: _choose(prompt, field, temperature or 0.0, chance) for field in prompt.outputs}
        reason = _reason(next((fit for fit in choices.values() if fit), None))
        values = {field.name: _value(prompt, field, choices[field.name], reason) for field in prompt.outputs}
        return _as_json(values) if prompt.as_json else _as_sections(values)

    def _chance(self, question: str) -> random.Random:
        key = zlib.crc32(question.encode("utf-8", "replace"))
        with self._lock:
            self._times_asked[key] += 1
            return random.Random(f"{self.seed}/{key}/{self._times_asked[key]}")


def _choose(prompt: Prompt, field: Field, temperature: float, chance: random.Random | None) -> Fit | None:
    candidates = fits(prompt, field.name, _labels(prompt, field))
    if not candidates:
        return None
    if chance is None:
        return max(candidates, key=lambda fit: fit.score)
    best = max(fit.score for fit in candidates)
    weights = [math.exp((fit.score - best) * SHARPNESS / temperature) for fit in candidates]
    return chance.choices(candidates, weights)[0]


def _labels(prompt: Prompt, field: Field) -> tuple[str, ...]:
    if field.labels or not field.is_text or field.name == "reasoning":
        return field.labels
    shown = {demo.outputs.get(field.name, "") for demo in prompt.demos} - {""}
    return tuple(sorted(shown)) if all(len(label) <= LONGEST_DEMO_LABEL for label in shown) else ()


def _reason(fit: Fit | None) -> str:
    if fit is None:
        return "I compare words and have no label to choose here, so I answer in the simplest way that fits."
    if not fit.shared:
        return f"The text shares no word with what the prompt says of any label, so '{fit.label}' is a guess."
    shared = ", ".join(f"'{stem}'" for stem in sorted(fit.shared))
    return f"The text has words that begin like those the prompt gives for '{fit.label}': {shared}."


def _value(prompt: Prompt, field: Field, choice: Fit | None, reason: str) -> Any:
    if choice is not None:
        return field.value_of(choice.label)
    if field.name == "module_advice" and "module_names" in prompt.question:
        return advice_from_trajectories(prompt.question)
    if not field.is_text:
        return field.empty_value()
    if field.name in ("reasoning", "discussion"):
        return reason
    if "instruction" in field.name:
        given = _given_instruction(prompt.question) or prompt.instruction
        return instruction_from_examples(given, prompt.question.get("examples_with_feedback", ""))
    return " ".join(prompt.text.split()[:WORDS_IN_SHORT_TEXT])


def _given_instruction(question: dict[str, str]) -> str:
    given = next((text for name, text in question.items() if "instruction" in name), "")
    attempts = ATTEMPT.findall(given)
    return (attempts[-1] if attempts else given).strip()


def _as_json(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _as_sections(values: dict[str, Any]) -> str:
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    sections = [f"[[ ## {name} ## ]]\n{text}" for name, text in texts.items()]
    return "\n\n".join([*sections, f"[[ ## {COMPLETED} ## ]]"])

"""Advice to a classifier as plain sentences: which words speak for which label."""

import json
import re
from typing import NamedTuple

from mlflow_dspy_plugin.quickstart.words import telling_words

WORDS_IN_ADVICE = 6
SENTENCE = re.compile(r"Texts with words like ([^\n]+?) are '([^\n]+?)'\.(?=\s|$)")
QUOTED_WORD = re.compile(r"'(\w+)'")
EXAMPLE = re.compile(r"^# Example \d+$", re.MULTILINE)
EXAMPLE_PARTS = re.compile(r"^## (Inputs|Generated Outputs|Feedback)$", re.MULTILINE)
RIGHT_LABEL = re.compile(r"\b(?:right|correct|expected|true)\b[^'\"\n]*(['\"])(.+?)\1", re.IGNORECASE)
HEADING = re.compile(r"^###.*$", re.MULTILINE)
FENCED = re.compile(r"```\n(.*?)\n```", re.DOTALL)


class Advice(NamedTuple):
    """Words that speak for a label."""

    words: tuple[str, ...]
    label: str

    def __str__(self) -> str:
        words = ", ".join(f"'{word}'" for word in self.words)
        return f"Texts with words like {words} are '{self.label}'."


def read_advice(instructions: str) -> list[Advice]:
    """Return the advice that an instruction gives, in its order."""
    return [Advice(tuple(QUOTED_WORD.findall(words)), label) for words, label in SENTENCE.findall(instructions)]


def advice_from_text(text: str, label: str) -> Advice | None:
    """Return what one labelled text teaches, or None if it has no words to go by."""
    words = telling_words(text, WORDS_IN_ADVICE)
    return Advice(tuple(words), label) if words else None


def advice_from_trajectories(question: dict[str, str]) -> dict[str, str]:
    """Return advice for each module of a program, as DSPy's SIMBA asks for it.

    Args:
        question: The input fields of `dspy.teleprompt.simba_utils.OfferFeedback`, each as JSON.
    """
    names = _json(question.get("module_names", ""))
    names = names if isinstance(names, list) else []
    text = " ".join(_strings(_json(question.get("program_inputs", ""))))
    label = next(iter(_strings(_json(question.get("oracle_metadata", "")))), None)
    advice = advice_from_text(text, label) if label else None
    sentence = str(advice) if advice else "The example has no words to go by, so keep to the instruction."
    return {str(name): sentence for name in names}


def instruction_from_reflection(prompt: str) -> str | None:
    """Return a given instruction with what its examples teach, as the package gepa asks for it.

    Args:
        prompt: A text that holds an instruction between fences, and examples with feedback.

    Returns:
        The instruction between fences, or None if the prompt asks for something else.
    """
    given = FENCED.search(prompt)
    if given is None or "new instruction" not in prompt:
        return None
    lessons = []
    for example in EXAMPLE.split(prompt[given.end() :])[1:]:
        pieces = EXAMPLE_PARTS.split(example)
        parts = dict(zip(pieces[1::2], pieces[2::2], strict=False))
        lessons.append((HEADING.sub("", parts.get("Inputs", "")), parts.get("Feedback", "")))
    return f"```\n{_with_lessons(given[1], lessons)}\n```"


def instruction_from_examples(instruction: str, examples: str) -> str:
    """Return an instruction with what examples teach, as DSPy's GEPA asks for it.

    Args:
        instruction: The instruction to keep.
        examples: A JSON list of objects with `Inputs` and `Feedback`; anything else teaches nothing.
    """
    listed = _json(examples)
    found = [example for example in listed if isinstance(example, dict)] if isinstance(listed, list) else []
    lessons = [(" ".join(_strings(example.get("Inputs"))), str(example.get("Feedback"))) for example in found]
    return _with_lessons(instruction, lessons)


def _with_lessons(instruction: str, lessons: list[tuple[str, str]]) -> str:
    labelled = [(text, RIGHT_LABEL.search(feedback)) for text, feedback in lessons]
    advice = [advice_from_text(text, label[2]) for text, label in labelled if label]
    sentences = [str(each) for each in advice if each and str(each) not in instruction]
    return "\n".join([instruction, *sentences])


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _strings(value: object) -> list[str]:
    values = value.values() if isinstance(value, dict) else []
    return [item for item in values if isinstance(item, str) and item.strip()]

"""What every golden model holds, and what it answers. Saved models hold it for ever: never change it, add beside it."""

from typing import Any

import dspy

from tests.fakes.script import chat_text

MODEL = "gpt-4o-mini"
QUESTION = {"question": "Who sails?", "k": 2}
ANSWER = {"reasoning": "Ships do.", "answer": "Aye", "words": ["aye", "sir"]}
INSTRUCTIONS = "Answer like a sailor."
DEMOS = [
    {"augmented": True, "question": "Port?", "k": 1, "reasoning": "Left.", "answer": "Larboard", "words": ["larboard"]},
    {"question": "Ship?", "k": 2, "answer": "Ahoy", "words": ["ahoy", "there"]},
]


def make_program(cls: type[dspy.ChainOfThought] = dspy.ChainOfThought) -> dspy.Module:
    """A program as an optimizer leaves it, of classes that every process can import."""
    signature = dspy.Signature("question, k: int -> answer, words: list[str]", INSTRUCTIONS)
    program = cls(signature, temperature=0.7)
    program.predict.demos = [dspy.Example(**demo).with_inputs("question", "k") for demo in DEMOS]
    return program


def configure(api_base: str) -> None:
    """Set what travels with the models: a language model without a key, and an adapter."""
    lm = dspy.LM(f"openai/{MODEL}", api_base=api_base, temperature=0.4, max_tokens=99)
    dspy.configure(lm=lm, adapter=dspy.ChatAdapter())


def answer(messages: list[dict[str, Any]], body: dict[str, Any]) -> str:
    """Answer as the language model behind the server does."""
    return chat_text(ANSWER)

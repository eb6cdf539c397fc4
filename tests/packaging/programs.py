"""Programs that the tests save; in a file of its own, which imports little: saving looks at it."""

import enum
from typing import Literal, Optional

import dspy
import pydantic


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Typed(dspy.Signature):
    """Read a letter."""

    letter: str = dspy.InputField()
    pages: int = dspy.InputField()
    readers: Optional[list[str]] = dspy.InputField()  # noqa: UP045, written as users write it
    kind: Literal["bill", "note"] = dspy.OutputField()
    words: list[str] = dspy.OutputField()
    total: float = dspy.OutputField()
    urgent: bool = dspy.OutputField()
    sender: Address = dspy.OutputField()
    counts: dict[str, int] = dspy.OutputField()
    mood: Mood = dspy.OutputField()


TYPED_ANSWER = {
    "kind": "bill",
    "words": ["a", "b"],
    "total": 2.5,
    "urgent": True,
    "sender": {"street": "Elm", "number": 7},
    "counts": {"a": 1},
    "mood": "good",
}


class QA(dspy.Module):
    """A user's own module, with a constructor argument and two predictors."""

    def __init__(self, passages: int = 3):
        super().__init__()
        self.passages = passages
        self.rewrite = dspy.Predict("question -> query")
        self.answer = dspy.ChainOfThought("query, passages: int -> answer")

    def forward(self, question: str):
        query = self.rewrite(question=question).query
        return self.answer(query=query, passages=self.passages)


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def compiled() -> dspy.Predict:
    """A predictor as an optimizer leaves it: demos, changed instructions, a changed prefix."""
    program = dspy.Predict("question -> answer")
    program.signature = program.signature.with_instructions("Answer like a sailor.")
    program.demos = [
        dspy.Example(question="Ship?", answer="Aye", augmented=True).with_inputs("question"),
        {"question": "Port?", "answer": "Nay"},
    ]
    return program

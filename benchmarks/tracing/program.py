"""The program that is measured: two ChainOfThought steps on a language model that answers at once and forgets."""

from collections import deque
from typing import Any

import dspy

from tests.fakes.script import chat_text
from tests.fakes.scripted import scripted_lm

# What a tracer makes of one call: the program, and for each step ChainOfThought, Predict, format, LM and parse.
SPANS = 11
ANSWER = chat_text({"reasoning": "It says so in the question.", "answer": "The black bear."})


class TwoSteps(dspy.Module):
    """Answers, and looks at the answer again."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.ChainOfThought("question -> answer")
        self.review = dspy.ChainOfThought("question, draft -> answer")

    def forward(self, question: str) -> Any:
        """One call: two calls of the language model."""
        return self.review(question=question, draft=self.draft(question=question).answer)


def make_program() -> TwoSteps:
    """The program, in a DSPy that caches nothing and keeps no calls."""
    lm = scripted_lm(ANSWER)
    lm.script.requests = deque(maxlen=0)
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    dspy.configure(lm=lm, disable_history=True, max_trace_size=0)
    return TwoSteps()


def question(number: int) -> str:
    """What a call asks; a trace in the store is known by the number in it."""
    return f"Call {number}: what kind of bear is best?"

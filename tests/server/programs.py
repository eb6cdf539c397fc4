"""Programs that servers are tested with; in a file of their own, which imports little: saving looks at it."""

import os
import threading

import dspy

# Holds up `Waiting` until a test lets it go on.
gate = threading.Event()
# How many times it has been held up.
held = threading.Semaphore(0)


class Failing(dspy.Module):
    """Fails with what no client may be told."""

    def forward(self, question: str):
        raise RuntimeError(f"no file /srv/secrets/{question}.pem, and the key is {os.environ['OPENAI_API_KEY']}")


class Counting(dspy.Module):
    """Answers what is no text."""

    def forward(self, number: float, things: list[str] = ()):
        return dspy.Prediction(half=number / 2, count=len(things))


class Waiting(dspy.Module):
    """Holds up a thread."""

    def forward(self, question: str):
        held.release()
        gate.wait(20)
        return dspy.Prediction(answer=question)


class Deaf(dspy.Module):
    """Takes a cancellation for one more failure, and goes on to answer."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    async def aforward(self, question: str):
        try:
            return await self.ask.acall(question=question)
        except BaseException:
            return dspy.Prediction(answer="too late")

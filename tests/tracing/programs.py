"""A table of programs, each with what its LM answers, in which every kind of span occurs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy

from tests.fakes.scripted import HAS_ENGINES

ANSWER = {"answer": "a"}
THOUGHT = {"reasoning": "r", **ANSWER}
QUESTION = {"question": "q"}


@dataclass(frozen=True)
class Case:
    """A program and one call of it.

    Args:
        make: Makes the program.
        answers: What its LM answers, in order.
        inputs: What the program is called with.
        fails: Whether the call raises.
        has_aforward: Whether it has an `aforward`.
        streams: Whether DSPy can stream it.
    """

    make: Callable[[], dspy.Module]
    answers: list[Any]
    inputs: Mapping[str, Any] = field(default_factory=lambda: QUESTION)
    fails: bool = False
    has_aforward: bool = True
    streams: bool = True


class Pipeline(dspy.Module):
    """Two steps, one of them two floors down."""

    def __init__(self):
        super().__init__()
        self.think = dspy.ChainOfThought("question -> answer")
        self.judge = dspy.Predict("answer -> verdict: bool")

    def forward(self, question):
        return self.judge(answer=self.think(question=question).answer)

    async def aforward(self, question):
        return await self.judge.acall(answer=(await self.think.acall(question=question)).answer)


def vectors(texts: list[str]) -> list[list[float]]:
    """An embedder: how often each of two letters is in a text."""
    return [[text.count("a") + 1.0, text.count("b") + 1.0] for text in texts]


class Searching(dspy.Module):
    """Reads what an index finds, and then answers."""

    def __init__(self):
        super().__init__()
        embedder = dspy.Embedder(vectors, caching=False)
        self.search = dspy.retrievers.Embeddings(["aaa", "bbb", "abab"], embedder, k=2)
        self.answer = dspy.Predict("passages: list[str], question -> answer")

    def forward(self, question):
        return self.answer(passages=self.search(question).passages, question=question)

    async def aforward(self, question):
        return await self.answer.acall(passages=self.search(question).passages, question=question)


class Looking(dspy.Module):
    """Sends an image."""

    def __init__(self):
        super().__init__()
        self.look = dspy.Predict("image: dspy.Image -> answer")

    def forward(self, url):
        return self.look(image=dspy.Image(url=url))

    async def aforward(self, url):
        return await self.look.acall(image=dspy.Image(url=url))


class Voting(dspy.Module):
    """Asks for two answers at once, below a signature with demos."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer", n=2, temperature=0.5)
        self.ask.demos = [dspy.Example(question="an example", answer="b")]

    def forward(self, question):
        return dspy.majority(self.ask(question=question))

    async def aforward(self, question):
        return dspy.majority(await self.ask.acall(question=question))


def weather(city: str) -> str:
    """Say how the weather is."""
    if city == "Atlantis":
        raise LookupError("no such city")
    return f"sunny in {city}"


def agent() -> dspy.Module:
    return dspy.ReAct("question -> answer", tools=[weather], max_iters=3)


def steps(*calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the LM of an agent answers that calls these tools, and then says that it has done."""
    done = ("finish", {})
    return [{"next_thought": "t", "next_tool_name": name, "next_tool_args": args} for name, args in (*calls, done)]


def tool_calls(name: str, **args: Any) -> dict[str, Any]:
    """What the LM of an agent of the second kind answers."""
    return {"next_thought": "t", "tool_calls": {"tool_calls": [{"name": name, "args": args}]}}


CASES = {
    "predict": Case(lambda: dspy.Predict("question -> answer"), [ANSWER]),
    "pipeline": Case(Pipeline, [THOUGHT, {"verdict": "True"}]),
    "voting": Case(Voting, [ANSWER]),
    "looking": Case(Looking, [ANSWER], {"url": "https://example.com/bear.png"}),
    "searching": Case(Searching, [ANSWER], {"question": "aab"}),
    "agent": Case(agent, [*steps(("weather", {"city": "Paris"})), THOUGHT]),
    "failing-tool": Case(agent, [*steps(("weather", {"city": "Atlantis"})), THOUGHT]),
    "fallback": Case(
        lambda: dspy.Predict("question -> answer"), ["no fields", '{"answer": "a"}'], streams=not HAS_ENGINES
    ),
}

# Older releases try another adapter after an error of the LM.
if HAS_ENGINES:
    CASES["failing-lm"] = Case(lambda: dspy.Predict("question -> answer"), [RuntimeError("down")], fails=True)
if hasattr(dspy, "ReActV2"):
    CASES["agent-v2"] = Case(
        lambda: dspy.ReActV2("question -> answer", tools=[weather]),
        [tool_calls("weather", city="Paris"), tool_calls("submit", answer="a")],
    )

if hasattr(dspy, "LocalInterpreter"):
    local = dspy.LocalInterpreter
    CASES |= {
        "recursive": Case(
            lambda: dspy.RLM("question -> answer", interpreter_factory=local),
            [
                {"reasoning": "r", "code": "print(llm_query('sub'))"},
                "from the lm",
                {"reasoning": "r", "code": "SUBMIT(answer='a')"},
            ],
            # An LM that is asked from code does not know the event loop.
            streams=False,
        ),
        "program-of-thought": Case(
            lambda: dspy.ProgramOfThought("question -> answer", interpreter_factory=local),
            [{"reasoning": "r", "generated_code": "SUBMIT({'answer': 1 + 1})"}, THOUGHT],
            has_aforward=False,
        ),
        "code-act": Case(
            lambda: dspy.CodeAct("question -> answer", tools=[weather], interpreter_factory=local),
            [{"generated_code": "print(weather('Paris'))", "finished": "True"}, THOUGHT],
            has_aforward=False,
        ),
    }

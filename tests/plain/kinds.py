"""The table of programs: every kind of module and of type that DSPy ships, trees of them, and users' own classes."""

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import dspy
import numpy as np

from tests.plain.field_types import (
    Address,
    Colour,
    FieldType,
    Fixed,
    Mood,
    Person,
    Point,
    all_types,
    importable,
    made_here,
    of_dspy,
)
from tests.plain.recorded import own_lm

QUESTION = {"question": "Who sails?"}


@dataclass(frozen=True)
class Kind:
    """A program, and a call of it."""

    make: Callable[[], dspy.Module]
    inputs: Mapping[str, Any] = field(default_factory=lambda: QUESTION)
    call: Callable[..., Any] = lambda program, **inputs: program(**inputs)


def ask_predictors(program: dspy.Module, **inputs: Any) -> list[Any]:
    """Call each predictor by itself, for programs that need an interpreter that may not be installed."""
    return [
        predictor(**{name: f"<{name}>" for name in predictor.signature.input_fields})
        for predictor in program.predictors()
    ]


def ask_with_retriever(program: dspy.Module, **inputs: Any) -> Any:
    """Call the program where a retriever is configured."""
    with dspy.context(rm=Shelf(["a", "b", "c"])):
        return program(**inputs)


# -- what users write ---------------------------------------------------------------------------


def weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"rain in {city} for {days}"


async def slow_weather(city: str) -> str:
    """The weather of a city, later."""
    return f"rain in {city}"


def reward(arguments: Any, prediction: Any) -> float:
    """How good an answer is."""
    return float(len(prediction.answer))


def embed(texts: list[str]) -> Any:
    """Embed texts by their lengths."""
    return np.array([[1.0, len(text), len(text) % 3] for text in texts], dtype=np.float32)


class Town:
    """No part of a program, but its static method is a function."""

    @staticmethod
    def mayor(city: str) -> str:
        """Who governs a city."""
        return f"the mayor of {city}"


class Letter(dspy.Signature):
    """Read a letter.

    Mind the handwriting."""

    letter: str = dspy.InputField(desc="as it came")
    pages: int = dspy.InputField(ge=1, le=9)
    reader: Person | None = dspy.InputField(default=None)
    kind: Literal["bill", "note"] = dspy.OutputField(prefix="The kind:")
    senders: list[Address] = dspy.OutputField(min_length=0)
    counts: dict[str, int] = dspy.OutputField(desc="${counts} of words")
    mood: Mood = dspy.OutputField()


LETTER = {"letter": "Dear", "pages": 2, "reader": Person(name="Ann")}


class Desk(dspy.Module):
    """A user's module with arguments, whose submodules share one predictor."""

    def __init__(self, passages: int, *, words: tuple[str, ...] = ("a",)):
        super().__init__()
        self.passages, self.words = passages, words
        self.shared = dspy.Predict("question -> query")
        self.steps = [self.shared, dspy.ChainOfThought("query -> hint"), {"last": dspy.Predict("hint -> answer")}]
        self.by_name = {"again": self.shared, "reader": dspy.Predict(Letter)}

    def forward(self, question: str) -> Any:
        query = self.shared(question=f"{question} {self.words}").query
        hint = self.steps[1](query=query).hint
        self.by_name["again"](question=hint)
        return self.steps[2]["last"](hint=hint)


class Nested(dspy.Module):
    def __init__(self, desk: Desk | None = None):
        super().__init__()
        self.desk = desk or Desk(3)
        self.same_desk = self.desk

    def forward(self, question: str) -> Any:
        return self.same_desk(question=question)


class Searching(dspy.Module):
    """Has a client that nobody can save, which its constructor makes again."""

    def __init__(self, k: int = 2, prefix: str = "p"):
        super().__init__()
        self.k, self.prefix = k, prefix
        self.search = lambda text: f"{self.prefix}{text}" * self.k
        self.predict = dspy.Predict("found -> answer")

    def forward(self, question: str) -> Any:
        return self.predict(found=self.search(question))


class Holding(dspy.Module):
    """Asks with whatever it holds."""

    def __init__(self, **held: Any):
        super().__init__()
        for name, value in held.items():
            setattr(self, name, value)
        self.predict = dspy.Predict("held, question -> answer")

    def forward(self, question: str) -> Any:
        names = sorted(set(vars(self)) - {"predict", "history", "callbacks", "_compiled", "clients"})
        called = {name: self._called(vars(self)[name], question) for name in names}
        return self.predict(held=str(called), question=question)

    def _called(self, held: Any, question: str) -> Any:
        if isinstance(held, dspy.KNN):
            return held(question=question)
        if isinstance(held, dspy.Parallel):
            return held([(dspy.Predict("question -> answer"), dspy.Example(**QUESTION).with_inputs("question"))])
        return held(question) if callable(held) else repr(held)


class Fallible(dspy.Predict):
    """A user's subclass of one of DSPy's own."""

    def __init__(self, signature: Any, attempts: int = 2):
        super().__init__(signature)
        self.attempts = attempts


class Shouting(dspy.ChatAdapter):
    """A user's adapter."""

    def __init__(self, mark: str = "!"):
        super().__init__()
        self.mark = mark

    def format(self, *args: Any, **kwargs: Any) -> Any:
        messages = super().format(*args, **kwargs)
        return [{**message, "content": f"{message['content']}{self.mark}"} for message in messages]


class Adapting(dspy.Module):
    """Brings the adapter that its predictor is called with."""

    def __init__(self, adapter: dspy.Adapter):
        super().__init__()
        self.adapter = adapter
        self.predict = dspy.Predict(Letter, temperature=0.25)
        self.predict.demos = [dspy.Example(**LETTER, kind="bill", senders=[], counts={"a": 1}, mood=Mood.GOOD)]

    def forward(self, **letter: Any) -> Any:
        with dspy.context(adapter=self.adapter):
            return self.predict(**letter)


class Silent(dspy.BaseLM):
    """A user's language model, which says of itself what it is made of."""

    def __init__(self, model: str, word: str):
        super().__init__(model)
        self.word = word

    def __call__(self, *args: Any, **kwargs: Any) -> list[str]:
        return [f"[[ ## answer ## ]]\n{self.word}"]

    def dump_state(self) -> dict[str, Any]:
        return {"model": self.model, "word": self.word}

    @classmethod
    def load_state(cls, state: dict[str, Any], **options: Any) -> "Silent":
        return cls(state["model"], state["word"])


class Quiet(dspy.BaseLM):
    """A user's language model of plain attributes."""

    def __init__(self, model: str, words: list[str]):
        super().__init__(model)
        self.words = words

    def __call__(self, *args: Any, **kwargs: Any) -> list[str]:
        return [f"[[ ## answer ## ]]\n{self.words[0]}"]


class Shelf(dspy.Retrieve):
    """A user's retriever."""

    def __init__(self, books: list[str], k: int = 2):
        super().__init__(k=k)
        self.books = books

    def forward(self, query: str, k: int | None = None, **options: Any) -> list[dspy.Example]:
        return [dspy.Example(long_text=book) for book in self.books[: k or self.k]]


# -- the programs -------------------------------------------------------------------------------


def in_context(key: str, answer: Any) -> dict[str, Any]:
    return {"question": "Aye?", key: answer}


def compiled_by_hand() -> dspy.Module:
    program = dspy.ChainOfThought("question -> answer")
    program.predict.signature = program.predict.signature.with_instructions(
        "Answer like a sailor."
    ).with_updated_fields("answer", prefix="Sailor:", desc="short")
    shared = dspy.Example(question="Ship?", answer="Aye", augmented=True).with_inputs("question")
    program.predict.demos = [shared, {"question": "Port?", "answer": "Nay"}, shared]
    program._compiled = True
    return program


def labeled() -> dspy.Module:
    rows = [dspy.Example(question=f"q{i}", answer=f"a{i}").with_inputs("question") for i in range(6)]
    return dspy.LabeledFewShot(k=3).compile(Nested(), trainset=rows)


def bootstrapped() -> dspy.Module:
    rows = [dspy.Example(question=f"q{i}", answer="x").with_inputs("question") for i in range(3)]
    optimizer = dspy.BootstrapFewShot(max_bootstrapped_demos=2, max_labeled_demos=2)
    with dspy.context(lm=own_lm()):
        return optimizer.compile(dspy.ChainOfThought("question -> answer"), trainset=rows)


def formattable() -> dict[str, FieldType]:
    """The types of which DSPy can write demos: of a TypedDict its newer releases cannot."""
    return {name: each for name, each in importable().items() if name not in ("movie", "movies")}


def with_demos_of_all_types() -> dspy.Module:
    types = formattable()
    fields = {name: (each.annotation, dspy.InputField()) for name, each in types.items()}
    program = dspy.Predict(dspy.Signature({**fields, "answer": (str, dspy.OutputField())}))
    program.demos = [dspy.Example({name: each.value for name, each in types.items()}, answer="a").with_inputs("text")]
    return program


def with_own_language_models() -> dspy.Module:
    program = Nested()
    program.desk.shared.lm = own_lm(temperature=0.5, max_tokens=99, stop=["END"])
    program.desk.steps[1].set_lm(own_lm(model_type="chat", top_p=0.5))
    program.desk.steps[2]["last"].lm = program.desk.shared.lm
    program.desk.steps[2]["last"].config = {"n": 1, "temperature": 0.75, "response_format": {"type": "text"}}
    return program


def agent(**options: Any) -> dspy.Module:
    named = dspy.Tool(weather, name="forecast", desc="Looks ahead", args={"city": {"type": "string"}})
    return dspy.ReAct(Letter, tools=[weather, Town.mayor, slow_weather, named], **options)


def typed(name: str, each: FieldType, make: Callable[[Any], dspy.Module] = dspy.Predict) -> dspy.Module:
    fields: dict[str, Any] = {f"given_{name}": (each.annotation, dspy.InputField(desc=f"a {name}"))}
    fields[name] = (str if each.written is None else each.annotation, dspy.OutputField(desc=f"another {name}"))
    return make(dspy.Signature(fields, f"Turn one {name} into another."))


VALUES = {
    "scalars": [None, True, 0, -(10**40), 1.5, "ü\ud83d \u2028", float("inf"), float("-inf"), 1 + 2j, 0.1 + 0.2, -0.0],
    "containers": {"a": [1, (2, [3])], 2: {"$": "ref", "id": 1}, (1, "b"): {frozenset({4}): {5}}, None: {}},
    "times": [
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.timezone(datetime.timedelta(hours=-3))),
        datetime.date(2024, 2, 29),
        datetime.time(1, 2, 3, 4),
        datetime.timedelta(days=-3, seconds=5, microseconds=7),
    ],
    "texts": [Decimal("1.10"), Fraction(1, 3), UUID(int=7), Path("a/b"), b"\x00\xff", re.compile("a+", re.IGNORECASE)],
    "arrays": [
        np.arange(6, dtype=">i2").reshape(2, 3)[:, ::2],
        np.float32(0.1),
        np.array(["ab", "ü"]),
        np.array("2024-02-29", dtype="M8[D]"),
        np.zeros((0, 2)),
        np.bool_(True),
    ],
    "objects": [Person(name="Ann", homes=[Address(street="Elm")]), Point(1), Fixed(2), Mood.BAD, Colour.RED],
    "made here": [{name: each.value for name, each in made_here().items()}],
    "types": [int, list[int], Person | None, Literal["a"], Letter, Address, type(None), Any],
    "functions": [weather, Town.mayor, reward],
    "interpreters": [dspy.PythonInterpreter(enable_network_access=["localhost"], enable_env_vars=["HOME"])],
    "of dspy's types": [{name: each.value for name, each in of_dspy().items()}],
    "tools": [dspy.Tool(weather), dspy.Tool(slow_weather, name="later", args={"city": {"type": "string"}})],
    "examples": [dspy.Example(a=1, b=[dspy.Example(c=2)]).with_inputs("a"), dspy.Prediction(answer="x", score=0.5)],
}


def held(**values: Any) -> Callable[[], dspy.Module]:
    """A program that holds the values."""
    return lambda: Holding(**{name: value() if callable(value) else value for name, value in values.items()})


def holding_itself() -> dspy.Module:
    loop: list[Any] = [1]
    loop.append({"loop": loop})
    program = dspy.Predict("question -> answer")
    program.loop, program.same = loop, loop
    return program


def string_typed() -> dspy.Module:
    types = {"Person": Person, "Mood": Mood}
    text = "n: int, tags: list[str], who: Optional[Person], a: Literal['x', 'y'] -> person: Person, m: dict[str, Mood]"
    return dspy.ChainOfThought(dspy.Signature(text, "Compose.", custom_types=types))


def embeddings(cls: type = dspy.retrievers.Embeddings) -> Any:
    return cls(["a ship", "a port of call", "tea"], dspy.Embedder(embed), k=2)


def knn() -> dspy.KNN:
    rows = [dspy.Example(question=f"{'q' * i}", answer="x").with_inputs("question") for i in range(1, 5)]
    return dspy.KNN(2, rows, dspy.Embedder(embed))


def answered(program: dspy.Module, lm: dspy.BaseLM) -> dspy.Module:
    program.set_lm(lm)
    return program


_OF_DSPY: dict[str, Kind] = {
    "predict": Kind(lambda: dspy.Predict("question -> answer")),
    "predict with config": Kind(lambda: dspy.Predict("question -> answer", temperature=0.5, n=2)),
    "predict class": Kind(lambda: dspy.Predict(Letter), LETTER),
    "predict string": Kind(string_typed, {"n": 1, "tags": ["a"], "who": Person(name="Ann"), "a": "y"}),
    "chain of thought": Kind(lambda: dspy.ChainOfThought("question -> answer")),
    "chain of thought class": Kind(lambda: dspy.ChainOfThought(Letter), LETTER),
    "chain of thought rationale": Kind(
        lambda: dspy.ChainOfThought("question -> answer", rationale_field=dspy.OutputField(desc="why"), temperature=0.5)
    ),
    "react": Kind(lambda: dspy.ReAct("question -> answer", tools=[weather])),
    "react class": Kind(lambda: agent(max_iters=2), LETTER),
    "react without tools": Kind(lambda: dspy.ReAct("question -> answer", tools=[])),
    "program of thought": Kind(lambda: dspy.ProgramOfThought("question -> answer"), call=ask_predictors),
    "code act": Kind(lambda: dspy.CodeAct("question -> answer", tools=[weather], max_iters=1), call=ask_predictors),
    "multi chain comparison": Kind(
        lambda: dspy.MultiChainComparison("question -> answer", M=2, temperature=0.5),
        {"completions": [{"rationale": "r", "answer": "a"}, {"rationale": "s", "answer": "b"}], **QUESTION},
    ),
    "best of n": Kind(lambda: dspy.BestOfN(dspy.ChainOfThought("question -> answer"), 2, reward, threshold=9)),
    "refine": Kind(lambda: dspy.Refine(dspy.Predict("question -> answer"), 2, reward, threshold=9, fail_count=1)),
    "best of n in refine": Kind(
        lambda: dspy.Refine(dspy.BestOfN(Desk(2), 2, reward, threshold=9), 2, reward, threshold=0.5)
    ),
    "semantic f1": Kind(
        lambda: dspy.evaluate.SemanticF1(threshold=0.5),
        {
            "example": dspy.Example(question="q", response="r"),
            "pred": dspy.Prediction(response="s"),
        },
    ),
    "complete and grounded": Kind(
        lambda: dspy.evaluate.CompleteAndGrounded(threshold=0.5),
        {"example": dspy.Example(question="q", response="r"), "pred": dspy.Prediction(response="s", context="c")},
    ),
    "parallel": Kind(held(parallel=lambda: dspy.Parallel(num_threads=1, disable_progress_bar=True))),
    "knn": Kind(held(knn=knn)),
    "embeddings": Kind(held(embeddings=embeddings)),
    "retrieve": Kind(held(retrieve=lambda: dspy.Retrieve(k=2)), call=ask_with_retriever),
    "colbert": Kind(held(clients=lambda: [dspy.ColBERTv2(url="http://127.0.0.1:9")])),
    "embedder": Kind(held(clients=lambda: [dspy.Embedder("openai/small", batch_size=3)])),
}


def _of_newer_releases() -> dict[str, Kind]:
    """Programs of modules that not every release has, by the name of the class."""
    kinds = {
        "ReActV2": Kind(lambda: dspy.ReActV2("question -> answer", tools=[weather], max_iters=2)),
        "RLM": Kind(
            lambda: dspy.RLM("question -> answer", tools=[weather], sub_lm=own_lm(top_p=0.5)), call=ask_predictors
        ),
        "Flex": Kind(lambda: dspy.Flex("question -> answer"), call=ask_predictors),
    }
    found = {name: kind for name, kind in kinds.items() if hasattr(dspy, name)}
    with_scores = getattr(dspy.retrievers, "EmbeddingsWithScores", None)
    return {**found, **({"scores": Kind(held(found=lambda: embeddings(with_scores)))} if with_scores else {})}


_TREES = {
    "own module": Kind(lambda: Desk(7, words=("x", "y"))),
    "nested": Kind(Nested),
    "constructed again": Kind(lambda: Searching(k=3, prefix="?")),
    "constructed again twice": Kind(held(a=lambda: Searching(k=3), b=lambda: [Searching(prefix="z")])),
    "subclass of predict": Kind(lambda: Fallible("question -> answer", attempts=5)),
    "demos": Kind(compiled_by_hand),
    "demos of all types": Kind(with_demos_of_all_types, {name: each.value for name, each in formattable().items()}),
    "own language models": Kind(with_own_language_models),
    "language model with state": Kind(
        lambda: answered(dspy.Predict("question -> answer"), Silent("silent/x", word="hush"))
    ),
    "language model of attributes": Kind(
        lambda: answered(dspy.Predict("question -> answer"), Quiet("quiet/x", words=["sh"]))
    ),
    "retriever": Kind(held(shelf=lambda: Shelf(["a", "b", "c"]))),
    "labeled few-shot": Kind(labeled),
    "bootstrapped few-shot": Kind(bootstrapped),
    "agent with a method": Kind(lambda: dspy.ReAct("question -> answer", tools=[Shelf(["a"]).forward])),
    "holding itself": Kind(holding_itself),
}


def _adapters() -> dict[str, Kind]:
    """A program for each adapter that DSPy ships, and for one of a user's."""
    from dspy.adapters.baml_adapter import BAMLAdapter

    makes: dict[str, Callable[[], dspy.Adapter]] = {
        "chat": lambda: dspy.ChatAdapter(use_native_function_calling=True),
        "json": dspy.JSONAdapter,
        "xml": dspy.XMLAdapter,
        "baml": BAMLAdapter,
        "two steps": lambda: dspy.TwoStepAdapter(own_lm(temperature=0.5)),
        "own": lambda: Shouting("?!"),
    }
    return {f"adapter {name}": Kind(lambda make=make: Adapting(make()), LETTER) for name, make in makes.items()}


def _typed() -> dict[str, Kind]:
    """A program for each type of fields."""
    return {
        f"type {name}": Kind(lambda name=name, each=each: typed(name, each), {f"given_{name}": each.value})
        for name, each in all_types().items()
    }


def _values() -> dict[str, Kind]:
    """A program for each kind of value that a module can hold."""
    # What is printed with its address cannot be asked with.
    named = {name: "clients" if name in ("functions", "interpreters") else "held" for name in VALUES}
    return {
        f"values {name}": Kind(lambda name=name, value=value: Holding(**{named[name]: [value]}))
        for name, value in VALUES.items()
    }


def kinds() -> dict[str, Kind]:
    """All of them."""
    return {**_OF_DSPY, **_of_newer_releases(), **_TREES, **_adapters(), **_typed(), **_values()}


def state_of(program: dspy.Module) -> str:
    """What DSPy dumps of a program; where it fails to, how."""
    try:
        return repr(program.dump_state())
    except (AttributeError, TypeError) as error:
        # DSPy cannot dump what holds a `dspy.Retrieve`, nor 3.0 a language model that is no `dspy.LM`.
        return repr(error)


def answers() -> dict[str, str]:
    """What a language model answers to the fields of these programs."""
    letter = {"kind": "bill", "senders": '[{"street": "Elm"}]', "counts": '{"a": 1}', "mood": "good"}
    composed = {"person": '{"name": "Bo"}', "m": '{"a": "good"}'}
    return {**letter, **composed, **{name: each.written for name, each in all_types().items() if each.written}}

"""Programs as people write them in notebooks and scripts: each in cells, the last of which makes `program`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON, PICKLE = "json", "cloudpickle"


@dataclass(frozen=True)
class Case:
    """One program.

    Attributes:
        cells: Its source. In a notebook each is run by itself, in a script one after the other.
        told: What it answers, as the text of its output fields.
        asked: The inputs that it is asked with.
        how: How it is called: by "__call__" or "acall".
        saved: The format that it is saved in, or the name of the error.
        reason: What the warning or the error says.
        of_globals: Whether it tells what became of its globals, which are still the same in the process that saves it.
        edited: What is replaced in the file of a script between its run and the saving.
    """

    cells: tuple[str, ...]
    told: str
    asked: Mapping[str, Any] = field(default_factory=lambda: {"question": "Where?"})
    how: str = "__call__"
    saved: str = JSON
    reason: str = ""
    of_globals: bool = False
    edited: tuple[str, str] | None = None


# What the language model answers, whichever of these fields a signature has.
ANSWERS = {
    "reasoning": "r",
    "answer": "Paris",
    "query": "q",
    "label": "good",
    "score": 3,
    "words": ["a", "b"],
    "place": {"name": "Rome", "size": 2},
    "next_thought": "t",
    "next_tool_name": "finish",
    "next_tool_args": {},
}

# The program of MLflow's page on the flavor (docs/docs/genai/flavors/dspy, Apache-2.0, quoted as test input).
QUICKSTART = Case(
    (
        "import dspy\nimport mlflow\n",
        """
class CoT(dspy.Module):
    def __init__(self):
        super().__init__()
        self.prog = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.prog(question=question)
""",
        "program = CoT()\n",
    ),
    "{'reasoning': 'r', 'answer': 'Paris'}",
)

PLAIN = {
    "quickstart": QUICKSTART,
    "all in one cell": Case(
        (
            """
import dspy
import json
import numpy as np

class QA(dspy.Module):
    def __init__(self, passages=3):
        super().__init__()
        self.passages = passages
        self.answer = dspy.Predict("question, passages: int -> answer")

    def forward(self, question):
        found = self.answer(question=json.dumps(question), passages=int(np.sum([self.passages, 1])))
        return dspy.Prediction(answer=found.answer, asked=json.loads(json.dumps(question)))

program = QA(passages=7)
""",
        ),
        "{'answer': 'Paris', 'asked': 'Where?'}",
    ),
    "bases in other cells": Case(
        (
            "import dspy\nfrom abc import abstractmethod",
            "class Base(dspy.Module):\n    limit = 2\n    @abstractmethod\n    def ask(self, question): ...\n"
            "    def forward(self, question):\n        return self.ask(question)",
            "class Loud:\n    def shout(self, text):\n        return text.upper() + '!' * self.limit",
            """
class Program(Loud, Base):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def ask(self, question):
        return dspy.Prediction(answer=self.shout(self.predict(question=question).answer))
""",
            "program = Program()",
        ),
        "{'answer': 'PARIS!!'}",
    ),
    "the last of two definitions": Case(
        (
            "import dspy\nclass P(dspy.Module):\n    def forward(self, question):\n        return dspy.Prediction(answer='old')",
            "class P(dspy.Module):\n    def forward(self, question):\n        return dspy.Prediction(answer='new')",
            "program = P()",
        ),
        "{'answer': 'new'}",
    ),
    "helpers in a cycle": Case(
        (
            "import dspy\nWORDS = ('a', 'b')\ndef even(n):\n    return True if n == 0 else odd(n - 1)",
            "def odd(n):\n    return False if n == 0 else even(n - 1)\nSHARE = {'even': even(4), 'of': {1, 2}}",
            "class P(dspy.Module):\n    def forward(self, question):\n"
            "        return dspy.Prediction(answer=[even(len(WORDS)), odd(2), SHARE])",
            "program = P()",
        ),
        "{'answer': [True, False, {'even': True, 'of': {1, 2}}]}",
    ),
    "constants of every plain kind": Case(
        (
            """
import datetime
import decimal
import logging
import pathlib
import re
import uuid

import dspy
import numpy as np

logger = logging.getLogger("of.the.program")
WORD = re.compile(r"(\\w+)", re.IGNORECASE)
DAY = datetime.date(2024, 2, 29)
PRICE = decimal.Decimal("1.10")
PLACE = pathlib.PurePosixPath("a/b")
NUMBER = uuid.UUID(int=5)
MATRIX = np.eye(2)
NESTED = {"a": [1, 2.5, None, True, b"x", float("inf")], ("t", 1): {3, 4}}
class P(dspy.Module):
    def forward(self, question):
        logger.debug("asked %s", question)
        kept = [WORD.findall(question), DAY.year, PRICE * 2, PLACE.name, NUMBER.int, MATRIX.tolist(), NESTED]
        return dspy.Prediction(answer=repr(kept), logger=logger.name)
program = P()
""",
        ),
        repr(
            {
                "answer": "[['Where'], 2024, Decimal('2.20'), 'b', 5, [[1.0, 0.0], [0.0, 1.0]], "
                "{'a': [1, 2.5, None, True, b'x', inf], ('t', 1): {3, 4}}]",
                "logger": "of.the.program",
            }
        ),
    ),
    "decorators": Case(
        (
            """
import functools
import dspy

CALLS = 2

def twice(function):
    @functools.wraps(function)
    def run(*args, **kwargs):
        return [function(*args, **kwargs) for _ in range(CALLS)]
    return run

def repeated(times):
    def around(function):
        @functools.wraps(function)
        def run(*args):
            return function(*args) * times
        return run
    return around

@twice
@repeated(times=2)
def greet(name):
    return f"hi {name} "

@functools.lru_cache(maxsize=None)
def slow(n):
    return n + 1

def named(cls):
    cls.title = cls.__name__.lower()
    return cls

@named
class Program(dspy.Module):
    @functools.cached_property
    def mark(self):
        return slow(1)

    @functools.wraps(greet)
    def other(self):
        return greet("Bo")

    def forward(self, question):
        return dspy.Prediction(answer=[greet("Al"), self.other(), slow(4), self.mark, self.title])

program = Program()
""",
        ),
        "{'answer': [['hi Al hi Al ', 'hi Al hi Al '], ['hi Bo hi Bo ', 'hi Bo hi Bo '], 5, 2, 'program']}",
    ),
    "nested classes": Case(
        (
            """
import dspy
import pydantic

class Outer(dspy.Module):
    class Config(pydantic.BaseModel):
        depth: int = 2

        def doubled(self):
            return self.depth * 2

    class Inner(dspy.Module):
        class Sig(dspy.Signature):
            "Nested."
            question: str = dspy.InputField()
            answer: str = dspy.OutputField()

        def __init__(self):
            super().__init__()
            self.predict = dspy.Predict(self.Sig)

        def forward(self, question):
            return self.predict(question=question)

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.inner = self.Inner()

    def forward(self, question):
        return dspy.Prediction(answer=self.inner(question=question).answer, n=self.config.doubled())

program = Outer(Outer.Config(depth=5))
""",
        ),
        "{'answer': 'Paris', 'n': 10}",
    ),
    "enum, pydantic and dataclass with methods": Case(
        (
            """
import dataclasses
import enum
import dspy
import pydantic

class Label(str, enum.Enum):
    GOOD = "good"
    BAD = "bad"

    @property
    def sign(self):
        return "+" if self is Label.GOOD else "-"

class Place(pydantic.BaseModel):
    name: str
    size: int = 1

    @pydantic.field_validator("name")
    @classmethod
    def titled(cls, value):
        return value.title()

    def told(self):
        return f"{self.name} ({self.size})"

@dataclasses.dataclass
class Options:
    tries: int = 2
    names: list[str] = dataclasses.field(default_factory=list)

    def first(self):
        return self.names[0]
""",
            """
class Judge(dspy.Signature):
    "Judge it."
    question: str = dspy.InputField()
    label: Label = dspy.OutputField()
    place: Place = dspy.OutputField()
""",
            """
class Program(dspy.Module):
    def __init__(self, options):
        super().__init__()
        self.options = options
        self.judge = dspy.Predict(Judge)

    def forward(self, question):
        found = self.judge(question=question)
        return dspy.Prediction(answer=[found.label.sign, found.place.told(), self.options.first()], label=found.label)

program = Program(Options(names=["n"]))
program.judge.demos = [dspy.Example(question="a", label=Label.BAD, place=Place(name="x")).with_inputs("question")]
""",
        ),
        "{'answer': ['+', 'Rome (2)', 'n'], 'label': <Label.GOOD: 'good'>}",
    ),
    "classes without methods": Case(
        (
            """
import dataclasses
import enum
from typing import NamedTuple, TypedDict
import dspy
import pydantic
""",
            "class Wrong(Exception):\n    pass",
            "class Settings:\n    depth = 1\n",
            "class Settings:\n    depth = 4\n    names = ['a']\n",
            "@dataclasses.dataclass(frozen=True)\nclass Options:\n    tries: int = 2\n",
            "class Pair(NamedTuple):\n    left: int\n    right: int = 2\n",
            "class Row(TypedDict):\n    name: str\n",
            "class Base(pydantic.BaseModel):\n    name: str\n",
            "class Place(Base):\n    size: int = 3\n",
            "class Label(enum.Enum):\n    GOOD = 'good'\n    BAD = 'bad'\n",
            """
class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.options = Options(tries=9)
        self.judge = dspy.Predict("question -> label: Label, place: Place")

    def forward(self, question):
        try:
            raise Wrong("x")
        except Wrong as error:
            caught = type(error).__name__
        found = self.judge(question=question)
        row: Row = Row(name="n")
        rest = [self.options.tries, Options().tries, Pair(1).right, row, Settings.depth, caught]
        return dspy.Prediction(answer=[found.label is Label.GOOD, found.place.size, *rest])
""",
            "program = Program()",
        ),
        "{'answer': [True, 2, 9, 2, 2, {'name': 'n'}, 4, 'Wrong']}",
    ),
    "future annotations": Case(
        (
            """
from __future__ import annotations
import dataclasses
from typing import TYPE_CHECKING, Optional
import dspy
import pydantic
if TYPE_CHECKING:
    from nowhere import Nothing
""",
            """
class Place(pydantic.BaseModel):
    name: str
    size: Optional[Size] = None

    def told(self):
        return f"{self.name} {self.size}"
""",
            "class Size(pydantic.BaseModel):\n    of: int = 1\n    def __str__(self):\n        return f'<{self.of}>'\n",
            "Place.model_rebuild()",
            "class Tree(pydantic.BaseModel):\n    below: list[Tree] = []\n    at: Optional[Place] = None\n"
            "    def depth(self):\n        return 1 + max([tree.depth() for tree in self.below], default=0)\n",
            "@dataclasses.dataclass\nclass Options:\n    size: Size\n    tries: int = 2\n",
            """
class Sig(dspy.Signature):
    question: str = dspy.InputField()
    words: list[str] = dspy.OutputField()

def search(place: Place) -> list[str]:
    "Search."
    return [place.told()]

class Program(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(Sig)
        self.options = Options(Size(of=4))

    def forward(self, question: str) -> Nothing:
        tool = dspy.Tool(search)
        told = tool(place={"name": "Rome", "size": {"of": 3}})
        tree = Tree.model_validate({"below": [{"at": {"name": "Ostia"}}]})
        return dspy.Prediction(answer=[told, tree.depth(), str(self.options.size), self.predict(question=question).words])

program = Program()
""",
        ),
        "{'answer': [['Rome <3>'], 2, '<4>', ['a', 'b']]}",
    ),
    "string signatures that name local types": Case(
        (
            "import enum\nimport dspy\nimport pydantic",
            "class Label(enum.Enum):\n    GOOD = 'good'\n    BAD = 'bad'",
            "class Place(pydantic.BaseModel):\n    name: str\n    size: int\n    def told(self):\n        return self.name",
            """
class Program(dspy.Module):
    def __init__(self):
        super().__init__()
        self.first = dspy.Predict("question -> label: Label")

    def forward(self, question):
        second = dspy.Predict("question -> place: Place, label: Label")
        found = second(question=question)
        kept = [self.first(question=question).label is Label.GOOD, found.label is Label.GOOD, found.place.told()]
        return dspy.Prediction(answer=kept)

program = Program()
""",
        ),
        "{'answer': [True, True, 'Rome']}",
    ),
    "aliases and submodules": Case(
        (
            """
import collections.abc as abc_of
import os.path
import xml.etree.ElementTree as ET
import email.mime.text
import numpy as np
import dspy
import dspy.adapters
from datetime import datetime as dt, timedelta
from math import pi, sqrt as root
from os import environ
from typing import Annotated, Any, Literal, Union
Kind = Literal["a", "b"]
Number = Union[int, float]
Names = list[str]
class P(dspy.Module):
    def forward(self, question: str, kind: Kind = "a", n: Number = 1, rest: Annotated[Any, "x"] = None) -> Any:
        parts = [
            isinstance(Names, abc_of.Sequence), os.path.basename("a/b"), ET.fromstring("<a>t</a>").text,
            email.mime.text.MIMEText("x").get_payload(), int(np.linalg.norm([3, 4])), root(9), round(pi, 2),
            (dt(2024, 1, 1) + timedelta(days=1)).day, "HOME" in environ, dspy.adapters.ChatAdapter.__name__,
        ]
        return dspy.Prediction(answer=parts)
program = P()
""",
        ),
        "{'answer': [False, 'b', 't', 'x', 5, 3.0, 3.14, 2, True, 'ChatAdapter']}",
    ),
    "tools": Case(
        (
            "import dspy\nCITIES = {'Rome': 'rain'}",
            """
def weather(city: str) -> str:
    "The weather of a city."
    return CITIES.get(city, "sun")

async def later(city: str, days: int = 1) -> str:
    "The weather to come."
    return weather(city)

class Maps:
    def __init__(self, scale):
        self.scale = scale

    def distance(self, a: str, b: str) -> int:
        "How far it is."
        return self.scale
""",
            """
class Agent(dspy.Module):
    def __init__(self):
        super().__init__()
        self.react = dspy.ReAct("question -> answer", tools=[weather, later, Maps(4).distance], max_iters=2)

    def forward(self, question):
        tools = self.react.tools
        told = [tools["weather"](city="Rome"), tools["distance"](a="x", b="y"), tools["later"].args]
        return dspy.Prediction(answer=self.react(question=question).answer, told=told)

program = Agent()
""",
        ),
        "{'answer': 'Paris', 'told': ['rain', 4, {'city': {'type': 'string'}, 'days': {'type': 'integer', 'default': 1}}]}",
    ),
    "async forward": Case(
        (
            """
import asyncio
import dspy

async def pause(seconds):
    await asyncio.sleep(seconds)
    return "slept"

class P(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    async def aforward(self, question):
        found, slept = await asyncio.gather(self.predict.acall(question=question), pause(0))
        return dspy.Prediction(answer=found.answer, slept=slept)

program = P()
""",
        ),
        "{'answer': 'Paris', 'slept': 'slept'}",
        how="acall",
    ),
    "properties, static and class methods": Case(
        (
            """
import dspy

class P(dspy.Module):
    made = 0
    names: list = ["n"]

    def __init__(self, size=2):
        super().__init__()
        self._size = size

    @property
    def size(self):
        return self._size

    @size.setter
    def size(self, value):
        self._size = value

    @staticmethod
    def double(n):
        return n * 2

    @classmethod
    def of(cls, size):
        return cls(size)

    def __len__(self):
        return 5

    def forward(self, question):
        other = type(self).of(7)
        other.size += 1
        return dspy.Prediction(answer=[self.double(self.size), other.size, len(self), self.names])

program = P.of(3)
""",
        ),
        "{'answer': [6, 8, 5, ['n']]}",
    ),
    "global language model and retriever": Case(
        (
            """
import dspy

small = dspy.LM("openai/small", temperature=0.3, api_key="sk-canary-1a2b3c4d5e6f7a8b9c0d")

class Retriever:
    def __init__(self, k):
        self.k = k

    def __call__(self, query):
        return [query] * self.k

class Corpus(dspy.Retrieve):
    def forward(self, query, k=None):
        return dspy.Prediction(passages=[query, self.k])

rm = Retriever(2)
corpus = Corpus(k=5)
judge = dspy.Predict("question -> answer")
""",
            """
class P(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.own = Retriever(1)

    def forward(self, question):
        with dspy.context(adapter=dspy.JSONAdapter()):
            model = [small.model, small.kwargs["temperature"]]
        found = [rm(question), corpus(question).passages, self.own("o"), judge(question=question).answer]
        return dspy.Prediction(answer=self.predict(question=question).answer, found=found, model=model)
program = P()
""",
        ),
        "{'answer': 'Paris', 'found': [['Where?', 'Where?'], ['Where?', 5], ['o'], 'Paris'], "
        "'model': ['openai/small', 0.3]}",
    ),
    "if main": Case(
        (
            """
import dspy
try:
    import nowhere
except ImportError:
    nowhere = None
if nowhere:
    def helper():
        return nowhere
else:
    def helper():
        return "here"
""",
            """
if __name__ == "__main__":
    class P(dspy.Module):
        TEXT = '''
  two
 one'''
        def forward(self, question):
            return dspy.Prediction(answer=[helper(), __name__, self.TEXT])

    program = P()
""",
        ),
        "{'answer': ['here', '__main__', '\\n  two\\n one']}",
    ),
    "lambdas, comprehensions, walrus and match inside": Case(
        (
            """
import dspy

def rank(word):
    return -len(word)

class Word:
    __match_args__ = ("text",)
    def __init__(self, text):
        self.text = text

class P(dspy.Module):
    ORDER = sorted([word for word in ("a", "bbb", "cc") if rank(word)], key=lambda word: rank(word))
    SQUARES = {n: [abs(m) for m in range(n)] for n in range(3)}

    def forward(self, question, limit=[rank(w) for w in ("xy",)][0]):
        if (size := len(question)) > 3:
            words = {w.lower() for w in question.split()}
        pick = lambda: max(words, key=lambda w: (rank(w), size))
        def inner():
            nonlocal size
            size += 1
            return (rank(w) for w in sorted(words))
        return dspy.Prediction(answer=[self.ORDER, self.SQUARES, pick(), list(inner()), size, limit, self.kind()])

    def kind(self):
        try:
            return kind_of(Word("x"))
        except* ValueError:
            return None
""".replace("except* ValueError", "except ValueError"),
            """
def kind_of(value):
    match value:
        case Word("x") | Word(text="y"):
            return "word"
        case {"k": k, **rest}:
            return k
        case _:
            return None
program = P()
""",
        ),
        "{'answer': [['bbb', 'cc', 'a'], {0: [], 1: [0], 2: [0, 1]}, 'where?', [-6], 7, -2, 'word']}",
    ),
    "names that classes and functions share": Case(
        (
            """
import dspy
answer = "global"
Alias = dspy.Predict
def question(answer):
    return answer
class P(dspy.Module):
    answer = "own"
    def __init__(self):
        super().__init__()
        self.question = Alias("question -> answer")
    def forward(self, question):
        return dspy.Prediction(answer=[answer, self.answer, self.question(question=question).answer])
Same = P
program = Same()
""",
        ),
        "{'answer': ['global', 'own', 'Paris']}",
    ),
    "a counter that functions change": Case(
        (
            """
import dspy
COUNT = 10
SEEN = []
def count():
    global COUNT
    COUNT += 1
    SEEN.append(COUNT)
    return COUNT
class P(dspy.Module):
    def forward(self, question):
        return dspy.Prediction(answer=[count(), SEEN is count.__globals__["SEEN"]])
program = P()
""",
        ),
        "{'answer': [11, True]}",
        of_globals=True,
    ),
    "one object in two places": Case(
        (
            """
import dspy
SHARED = {"n": 1}
class P(dspy.Module):
    def __init__(self):
        super().__init__()
        self.kept = SHARED
        self.one = self.two = dspy.Predict("question -> answer")
    def forward(self, question):
        return dspy.Prediction(answer=[self.kept is SHARED, self.one is self.two])
program = P()
""",
        ),
        "{'answer': [True, True]}",
        of_globals=True,
    ),
    "optimized": Case(
        (
            """
import dspy
class Judge(dspy.Signature):
    '''Judge.'''
    question: str = dspy.InputField()
    label: str = dspy.OutputField()
class P(dspy.Module):
    def __init__(self):
        super().__init__()
        self.judge = dspy.ChainOfThought(Judge)
    def forward(self, question):
        return self.judge(question=question)
def metric(example, prediction, trace=None):
    return True
rows = [dspy.Example(question=f"q{n}", label="good").with_inputs("question") for n in range(3)]
program = dspy.LabeledFewShot(k=2).compile(P(), trainset=rows)
""",
        ),
        "{'reasoning': 'r', 'label': 'good'}",
    ),
    "classes around DSPy's": Case(
        (
            """
import dspy

def reward(args, pred):
    return float(len(pred.answer))

class P(dspy.Module):
    def __init__(self):
        super().__init__()
        self.best = dspy.BestOfN(dspy.Predict("question -> answer"), N=2, reward_fn=reward, threshold=1.0)
        self.steps = [dspy.Predict("question -> query"), dspy.ChainOfThought("query -> answer")]
        self.named = {"last": dspy.Predict("answer -> score: int")}

    def forward(self, question):
        query = self.steps[0](question=question).query
        answer = self.best(question=self.steps[1](query=query).answer).answer
        return dspy.Prediction(answer=answer, score=self.named["last"](answer=answer).score)

program = P()
""",
        ),
        "{'answer': 'Paris', 'score': 3}",
    ),
}

_MODULE = "import dspy\nclass P(dspy.Module):\n    def __init__(self, f=None):\n        super().__init__()\n        self.{} = f\n"
_FORWARD = "    def forward(self, question):\n        return dspy.Prediction(answer={})\n"

PICKLED = {
    "a lambda": Case(
        (_MODULE.format("clean") + _FORWARD.format("self.clean(question)"), "program = P(lambda text: text[:2])"),
        "{'answer': 'Wh'}",
        saved=PICKLE,
        reason="program.clean is a lambda",
    ),
    "a closure": Case(
        (
            "def cutter(n):\n    def cut(text):\n        return text[:n]\n    return cut",
            _MODULE.format("cut") + _FORWARD.format("self.cut(question)"),
            "program = P(cutter(3))",
        ),
        "{'answer': 'Whe'}",
        saved=PICKLE,
        reason=r"program.cut is cutter.<locals>.cut, which was defined inside of a function",
    ),
    "a decorator that hides its function": Case(
        (
            "import dspy\ndef twice(f):\n    def run(x):\n        return f(f(x))\n    return run\n@twice\ndef add(x):\n    return x + 1",
            "class P(dspy.Module):\n" + _FORWARD.format("add(1)"),
            "program = P()",
        ),
        "{'answer': 3}",
        saved=PICKLE,
        reason=r"add \(used by P\) is twice.<locals>.run, which was defined inside of a function",
    ),
    "a class made in a function": Case(
        (
            "import dspy\ndef make():\n    class P(dspy.Module):\n"
            "        def forward(self, question):\n            return dspy.Prediction(answer='made')\n    return P()",
            "program = make()",
        ),
        "{'answer': 'made'}",
        saved=PICKLE,
        reason=r"program is make.<locals>.P, which was defined inside of a function",
    ),
    "a class without source": Case(
        (
            "import dspy\nexec('class P(dspy.Module):\\n    def forward(self, question):\\n"
            "        return dspy.Prediction(answer=1)\\n')\nprogram = P()",
        ),
        "{'answer': 1}",
        saved=PICKLE,
        reason="program is the class P, whose source cannot be had",
    ),
    "made by the older of two definitions": Case(
        (
            "import dspy\nclass P(dspy.Module):\n    def forward(self, question):\n        return dspy.Prediction(answer='old')",
            "program = P()",
            "class P(dspy.Module):\n    def forward(self, question):\n        return dspy.Prediction(answer='new')",
        ),
        "{'answer': 'old'}",
        saved=PICKLE,
        reason="program is P, which is no longer the one in __main__",
    ),
    "a method put there later": Case(
        (
            "import dspy\nclass P(dspy.Module):\n" + _FORWARD.format("'first'"),
            "def forward(self, question):\n    return dspy.Prediction(answer='later')\nP.forward = forward",
            "program = P()",
        ),
        "{'answer': 'later'}",
        saved=PICKLE,
        reason="P is not what its source makes: P.forward differs",
    ),
    "a class attribute set later": Case(
        (
            "import dspy\nclass P(dspy.Module):\n    limit = 1\n" + _FORWARD.format("self.limit"),
            "P.limit = 2",
            "program = P()",
        ),
        "{'answer': 2}",
        saved=PICKLE,
        reason="P is not what its source makes: P.limit differs",
    ),
    "a global of a type of its own": Case(
        (
            "import dspy\nimport fractions\nclass Odd(fractions.Fraction):\n    pass\nODD = Odd(1, 3)",
            "class P(dspy.Module):\n" + _FORWARD.format("str(ODD)"),
            "program = P()",
        ),
        "{'answer': '1/3'}",
        saved=PICKLE,
        reason=r"ODD \(used by P\) is a __main__.Odd",
    ),
    "the place of the script": Case(
        (
            "import dspy\n__file__ = '/nowhere/script.py'\nclass P(dspy.Module):\n" + _FORWARD.format("__file__[:8]"),
            "program = P()",
        ),
        "{'answer': '/nowhere'}",
        saved=PICKLE,
        reason="P reads __file__, which is another one where it loads",
    ),
}

REFUSED = {
    "an open file": Case(
        (
            "import dspy\nimport tempfile\nFILE = tempfile.TemporaryFile()",
            "class P(dspy.Module):\n" + _FORWARD.format("FILE.read()"),
            "program = P()",
        ),
        "{'answer': b''}",
        saved="ProgramError",
        reason="cannot be pickled",
    ),
    "a secret constant": Case(
        (
            "import dspy\nAPI_KEY = 'canary-7f3b9a1c5d2e4f6a8b'",
            "class P(dspy.Module):\n" + _FORWARD.format("len(API_KEY)"),
            "program = P()",
        ),
        "{'answer': 25}",
        saved="SecretError",
        reason="API_KEY",
    ),
    "a secret that a helper's helper names": Case(
        (
            "import dspy\nHEADERS = {'Authorization': 'Bearer canary-7f3b9a1c5d2e4f6a8b'}\ndef send():\n    return HEADERS",
            "def ask():\n    return send()",
            "class P(dspy.Module):\n" + _FORWARD.format("len(ask())"),
            "program = P()",
        ),
        "{'answer': 1}",
        saved="SecretError",
        reason="HEADERS",
    ),
    "a secret that a decorator takes": Case(
        (
            "import dspy\nTOKENS = {'api_key': 'canary-7f3b9a1c5d2e4f6a8b'}\ndef using(what):\n    return lambda cls: cls",
            "@using(TOKENS)\nclass P(dspy.Module):\n" + _FORWARD.format("1"),
            "program = P()",
        ),
        "{'answer': 1}",
        saved="SecretError",
        reason="TOKENS",
    ),
    "a secret in the source": Case(
        (
            "import dspy\nclass P(dspy.Module):\n" + _FORWARD.format("len(dict(api_key='canary-7f3b9a1c5d2e4f6a8b'))"),
            "program = P()",
        ),
        "{'answer': 1}",
        saved="SecretError",
        reason="secret",
    ),
}

EDITED = {
    "a script whose method was edited": Case(
        ("import dspy\nclass P(dspy.Module):\n" + _FORWARD.format("'before'"), "program = P()"),
        "{'answer': 'before'}",
        saved=PICKLE,
        reason="program is P, whose source has changed since it was run",
        edited=("'before'", "'behind'"),
    ),
    "a script whose class moved": Case(
        ("import dspy\nclass P(dspy.Module):\n" + _FORWARD.format("1"), "program = P()"),
        "{'answer': 1}",
        saved=PICKLE,
        reason="program is P, whose source has changed since it was run",
        edited=("import dspy\n", "import dspy\n\n\n\n\n"),
    ),
    "a script whose class without methods was edited": Case(
        (
            "import dataclasses\nimport dspy\n@dataclasses.dataclass\nclass Options:\n    tries: int = 2\n",
            "class P(dspy.Module):\n" + _FORWARD.format("Options().tries"),
            "program = P()",
        ),
        "{'answer': 2}",
        saved=PICKLE,
        reason="Options is not what its source makes: Options.tries differs",
        edited=("tries: int = 2", "tries: int = 3"),
    ),
    "a script that was edited elsewhere": Case(
        ("import dspy\nclass P(dspy.Module):\n" + _FORWARD.format("1"), "program = P()", "# the end"),
        "{'answer': 1}",
        edited=("# the end", "# another end"),
    ),
}

CASES = {"cells": {**PLAIN, **PICKLED, **REFUSED}, "script": {**PLAIN, **PICKLED, **REFUSED, **EDITED}}

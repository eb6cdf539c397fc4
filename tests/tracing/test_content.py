"""Values become JSON: ordinary ones as MLflow writes them, and bad ones a placeholder, with nothing done to them."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import sys
import threading
import types
import uuid

import dspy
import mlflow
import numpy as np
import pandas as pd
import pydantic
import pytest
from mlflow.tracing.utils import TraceJSONEncoder

from mlflow_dspy_plugin.tracing.content import Content
from tests.tracing.logs import warnings_logged


@pytest.fixture(autouse=True)
def tracing():
    """Nothing here needs autologging."""


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def dumped(value, **settings):
    """What stands for the value, read back strictly from what can be stored."""
    text = Content(**settings).of_trace().dump(value)
    return json.loads(text.encode("utf-8"), parse_constant=refuse)


class Color(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    BIG = 7


class Kind(str, enum.Enum):
    A = "kind a"


@dataclasses.dataclass
class Point:
    x: int
    when: datetime.date


class Person(pydantic.BaseModel):
    name: str
    born: datetime.date
    friends: list["Person"] = []


class Text(str):
    """A text of a class of its own."""


class Plain:
    def __repr__(self):
        return "Plain()"


Pair = collections.namedtuple("Pair", "a b")
ANNA = Person(name="Anna", born=datetime.date(2000, 1, 2))
ORDINARY = {
    "text": "a \"text\"\n\twith 'quotes', \\ and ünicode 日本 \x00\x1f",
    "numbers": [0, -1, 1.5, 1e300, 5e-324, 10**30, True, False, None],
    "nested": {"a": [{"b": {"c": [[], {}, ""]}}]},
    "tuple": (1, ("a",), Pair(1, "b")),
    "keys": {3: "a", 2.5: "b", None: "c", True: "d", "e": "f"},
    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{"id": "c1"}]}],
    "dict classes": [collections.OrderedDict(a=1), collections.defaultdict(list, b=[1]), collections.Counter("aab")],
    "text classes": [Text("mine"), Kind.A, {Text("key"): 1}],
    "number classes": [Size.BIG, np.float64(1.5)],
    "enum": [Color.RED],
    "times": [datetime.datetime(2024, 1, 2, 3, 4), datetime.date(2024, 1, 2), datetime.timedelta(1)],
    "others": [decimal.Decimal("1.5"), uuid.UUID(int=1), complex(1, 2), range(3), slice(1), ...],
    "sets": [{1}, frozenset({2}), set()],
    "bytes": [b"ab\xff", bytearray(b"c")],
    "class": [int, Plain, Person],
    "object": [Plain()],
    "functions": [len, json.dumps],
    "exception": [ValueError("v")],
    "dataclass": Point(1, datetime.date(2024, 1, 2)),
    "pydantic": Person(name="Bert", born=datetime.date(2000, 1, 2), friends=[ANNA]),
    "history": dspy.History(messages=[{"question": "q", "answer": "a"}]),
    "tool": dspy.Tool(lambda x: x, name="t", desc="d", args={"x": {"type": "string"}}),
    "numpy": [np.arange(3), np.int64(3), np.zeros((2, 2))],
    "pandas": [pd.DataFrame({"a": [1, 2]}), pd.Series([1])],
    "module": [dspy.Predict("question -> answer")],
}


@pytest.mark.parametrize("value", ORDINARY.values(), ids=ORDINARY)
def test_an_ordinary_value_is_written_as_mlflow_writes_it(value):
    expected = json.dumps(value, cls=TraceJSONEncoder, ensure_ascii=False)
    assert Content().of_trace().dump(value) == expected


SIGNATURE = dspy.Signature("question -> answer")
DATA_URI = "data:image/png;base64,iVBORw0KGgo="
STRUCTURED = {
    "example": (dspy.Example(question="q", n=[1]).with_inputs("question"), {"question": "q", "n": [1]}),
    "prediction": (dspy.Prediction(answer="a", score=0.5), {"answer": "a", "score": 0.5}),
    "examples": ([dspy.Example(a=dspy.Example(b=1))], [{"a": {"b": 1}}]),
    "mapping": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "user dict": (collections.UserDict(a=1), {"a": 1}),
    "signature": (SIGNATURE, repr(SIGNATURE)),
    "image": (dspy.Image(url=DATA_URI), {"type": "image_url", "image_url": {"url": DATA_URI}}),
    "audio": (
        dspy.Audio(data="YWJj", audio_format="wav"),
        {"type": "input_audio", "input_audio": {"data": "YWJj", "format": "wav"}},
    ),
}


@pytest.mark.parametrize(("value", "expected"), STRUCTURED.values(), ids=STRUCTURED)
def test_what_has_a_structure_keeps_it(value, expected):
    assert dumped(value) == expected


def test_the_text_of_a_signature_follows_its_instructions():
    signature = dspy.Signature("question -> answer", "First.")
    assert "First." in dumped(signature)
    signature.__doc__ = "Second."
    assert "Second." in dumped(signature)


class Raising:
    """Whatever is done with it raises."""

    def __init__(self, error=ValueError):
        object.__setattr__(self, "error", error)

    def fail(self, *args):
        raise object.__getattribute__(self, "error")("no")

    __repr__ = __str__ = __getattr__ = __iter__ = __len__ = __hash__ = __eq__ = __bool__ = __format__ = fail
    __getstate__ = __reduce_ex__ = __copy__ = __deepcopy__ = keys = items = model_dump = fail
    __class__ = property(fail)


class RaisingKeys(collections.abc.Mapping):
    def __getitem__(self, key):
        raise KeyError(key)

    def __iter__(self):
        raise ValueError("no keys")

    def __len__(self):
        raise ValueError("no length")


class Endless(RaisingKeys):
    def __getitem__(self, key):
        return key

    def __iter__(self):
        number = 0
        while True:
            yield number
            number += 1


class RaisingModel(pydantic.BaseModel):
    good: int = 1
    bad: object = None

    @pydantic.model_serializer
    def dump(self):
        raise ValueError("no dump")


@dataclasses.dataclass
class RaisingFields:
    good: int = 1
    bad: int = 2

    def __getattribute__(self, name):
        if name == "bad":
            raise OSError("no field")
        return object.__getattribute__(self, name)


class LyingDict(dict):
    def items(self):
        raise ValueError("no items")

    __iter__ = __len__ = __getitem__ = items


class LyingList(list):
    def __iter__(self):
        raise ValueError("no items")

    __len__ = __iter__


class BadMeta(type):
    def __repr__(cls):
        raise ValueError("no class")

    __hash__ = None


class BadKey:
    def __hash__(self):
        return 1

    def __repr__(self):
        raise ValueError("no key")


class StrangeText(str):
    def __str__(self):
        raise ValueError("no text")

    __len__ = __repr__ = encode = __str__


def cyclic():
    value = {"a": 1}
    value["self"] = [value, value]
    return value


def deep():
    value = "bottom"
    for _ in range(1000):
        value = [value]
    return value


UNREADABLE = "<Unreadable Raising: ValueError>"
BAD = {
    "raising": (Raising(), UNREADABLE),
    "raising deep inside": ({"a": [Raising(), 1]}, {"a": [UNREADABLE, 1]}),
    "a panic": (Raising(type("Panic", (BaseException,), {})), "<Unreadable Raising: Panic>"),
    "an exit": (Raising(SystemExit), "<Unreadable Raising: SystemExit>"),
    "a mapping without keys": ([RaisingKeys()], ["<Unreadable RaisingKeys: ValueError>"]),
    "a model that cannot be dumped": (RaisingModel(bad=Raising()), {"good": 1, "bad": UNREADABLE}),
    "a field that cannot be read": (RaisingFields(), {"good": 1, "bad": "<Unreadable RaisingFields: OSError>"}),
    "a dict that lies": (LyingDict(a=1), {"a": 1}),
    "a list that lies": (LyingList([1]), [1]),
    "a text that lies": (StrangeText("a"), "a"),
    "a class without hash": ([BadMeta("Bad", (), {})], ["<Unreadable BadMeta: ValueError>"]),
    "an object of it": ([BadMeta("Bad", (), {})()], ["<Unreadable Bad: TypeError>"]),
    "nan": ([math.nan, math.inf, -math.inf, np.float64("nan")], ["NaN", "Infinity", "-Infinity", "NaN"]),
    "nan keys": ({math.nan: 1}, {"nan": 1}),
    "a cycle": (cyclic(), {"a": 1, "self": ["<contains itself>", "<contains itself>"]}),
    "surrogates": ({"\ud83d": "a\udc00b"}, {"\\ud83d": "a\\udc00b"}),
    "surrogates in a plain place": ("\ud83d", "\\ud83d"),
    "strange keys": ({(1, 2): 3, b"k": 4, frozenset({5}): 6}, {"(1, 2)": 3, "b'k'": 4, "frozenset({5})": 6}),
    "a key without text": ({BadKey(): 1}, {"<Unreadable BadKey: ValueError>": 1}),
    "a huge integer": ([10**5000], ["<integer of 16,610 bits>"]),
    "a long key": ({"k" * 5000: 1}, {"k" * 1000 + "<4,000 more>": 1}),
}


@pytest.mark.parametrize(("value", "expected"), BAD.values(), ids=BAD)
def test_a_placeholder_stands_for_what_cannot_be_written(value, expected):
    assert dumped(value) == expected


def test_what_contains_itself_through_a_model_ends():
    person = Person(name="Anna", born=datetime.date(2000, 1, 2))
    person.friends.append(person)
    assert dumped(person)["friends"] == ["<contains itself>"]


def test_nesting_ends_at_a_depth_that_every_reader_can_take():
    found = dumped(deep())
    for _ in range(100):
        [found] = found
    assert found == "<nested deeper than 100>"


def test_a_huge_collection_is_cut_and_says_how_much_is_missing():
    assert dumped(list(range(1_000_000)))[-2:] == [99_999, "<900,000 more>"]
    assert len(dumped({str(n): n for n in range(200_000)})) == 100_001
    assert dumped([[0] * 60_000, [1] * 60_000, [2]])[1:] == [[1] * 39_997 + ["<20,003 more>"], ["<1 more>"]]
    assert dumped(Endless())["..."] == "<1 more>"


def test_an_interrupt_while_a_value_is_read_is_the_user_s():
    with pytest.raises(KeyboardInterrupt, match="no"):
        dumped(Raising(KeyboardInterrupt))


def test_the_end_of_the_stack_costs_a_placeholder():
    def down(left):
        return down(left - 1) if left else dumped({"a": [[Plain()]]})

    results = set()
    for left in range(sys.getrecursionlimit() - 150, sys.getrecursionlimit(), 5):
        try:
            results.add(json.dumps(down(left)))
        except RecursionError:  # raised by this test's own functions
            break
    assert '{"a": [["Plain()"]]}' in results


def test_nothing_is_consumed_changed_or_kept():
    generator, lock = (n for n in range(3)), threading.Lock()
    held = {"g": generator, "i": iter([1, 2]), "m": map(str, [1]), "l": lock, "nested": [{"api_key": "k", "x": [1]}]}
    before = json.dumps(held["nested"])
    dumped(held)
    assert list(generator) == [0, 1, 2]
    assert list(held["i"]) == [1, 2]
    assert json.dumps(held["nested"]) == before
    assert not lock.locked()


def test_a_dict_that_another_thread_changes_is_written():
    value, done = {}, threading.Event()

    def change():
        while not done.is_set():
            for n in range(100):
                value[f"k{n}"] = n
            value.clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            assert "Unreadable" not in Content().of_trace().dump([value])
    finally:
        done.set()
        thread.join()


def test_each_kind_of_failure_is_warned_of_once():
    content = Content()
    with warnings_logged() as log:
        for _ in range(3):
            content.of_trace().dump([Raising(), Raising(OSError), RaisingKeys()])
    assert log == [
        "mlflow_dspy_plugin: Traces cannot show a value of type Raising (ValueError); a placeholder stands for it.",
        "mlflow_dspy_plugin: Traces cannot show a value of type Raising (OSError); a placeholder stands for it.",
        "mlflow_dspy_plugin: Traces cannot show a value of type RaisingKeys (ValueError); a placeholder stands for it.",
    ]


def test_nothing_is_warned_of_where_the_user_wants_silence():
    mlflow.dspy.autolog(silent=True)
    try:
        with warnings_logged() as log:
            Content().of_trace().dump(Raising())
    finally:
        mlflow.dspy.autolog(disable=True)
    assert log == []


def test_a_bare_text_is_bounded_and_can_be_stored():
    content = Content().of_trace()
    assert content.text("a\ud83d") == "a\\ud83d"
    long = content.text("a b " * 75_000 + "end")
    assert len(long) < 101_000
    assert "characters left out] ..." in long
    assert long.endswith("end")
    # A half of a key would be stored, as no key is known by it.
    key = "sk-proj-" + "4c0ffee7" * 4
    assert "4c0ffee7" not in content.text("a " * 24_990 + key + " b" * 50_000)

"""Every type that a field can have, with a value of it and how a language model writes that value."""

import dataclasses
import datetime
import enum
import typing
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union
from uuid import UUID

import annotated_types
import dspy
import pydantic
from typing_extensions import TypedDict


class Mood(enum.Enum):
    GOOD = "good"
    BAD = ("bad", 2)


class Colour(str, enum.Enum):
    RED = "red"
    DEEP = "deep red"
    CRIMSON = "red"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Address(pydantic.BaseModel):
    """Where somebody lives."""

    street: str = pydantic.Field(description="without the number", min_length=1, pattern="^[A-Z]")
    number: int = pydantic.Field(1, ge=1, lt=1000)


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", title="Somebody")

    name: str = pydantic.Field(examples=["Ann"], title="The name")
    homes: list[Address] = []
    mood: Mood = Mood.GOOD
    size: Size | None = None


class Tree(pydantic.BaseModel):
    label: str
    children: list["Tree"] = []


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass(frozen=True)
class Fixed:
    x: int


class Movie(TypedDict):
    title: str
    year: int


class Pair(NamedTuple):
    left: str
    right: int


@dataclasses.dataclass(frozen=True)
class FieldType:
    """A type of fields.

    Attributes:
        annotation: The type.
        value: A value of it, as a user gives it.
        written: The same value, or another one, as a language model writes it; None if it gives none.
    """

    annotation: Any
    value: Any
    written: str | None


def importable() -> dict[str, FieldType]:
    """Types that another process can import, by a name that serves as a field's."""
    person = Person(name="Ann", homes=[Address(street="Elm", number=7)], size=Size.LARGE)
    written_person = '{"name": "Ann", "homes": [{"street": "Elm", "number": 7}], "mood": "good", "size": 2}'
    return {
        "text": FieldType(str, 'a\n"b" ü \u2028 {x}', "a text"),
        "whole": FieldType(int, 10**20, "7"),
        "real": FieldType(float, 2.5, "1e-3"),
        "yes": FieldType(bool, True, "True"),
        "octets": FieldType(bytes, b"\x00raw", "raw"),
        "texts": FieldType(list[str], ["a", "b"], '["a", "b"]'),
        "old_list": FieldType(typing.List[int], [1, 2], "[1, 2]"),  # noqa: UP006, written as users write it
        "bare_list": FieldType(list, [1, "a", None], '[1, "a"]'),
        "counts": FieldType(dict[str, int], {"a": 1}, '{"a": 1}'),
        "by_number": FieldType(dict[int, list[float]], {1: [0.5]}, '{"1": [0.5]}'),
        "old_optional": FieldType(Optional[str], None, "null"),  # noqa: UP045
        "optional": FieldType(int | None, 3, "3"),
        "old_union": FieldType(Union[int, list[str]], ["a"], '["a"]'),  # noqa: UP007
        "union": FieldType(float | list[str] | None, 1.5, "1.5"),
        "choice": FieldType(Literal["a", "b c", 3, True, None], "b c", "b c"),
        "choices": FieldType(list[Literal["a", "b"]], ["a"], '["b"]'),
        "anything": FieldType(Any, {"a": [1, (2,)]}, '{"a": 1}'),
        "mood": FieldType(Mood, Mood.GOOD, "good"),
        "colour": FieldType(Colour, Colour.CRIMSON, "deep red"),
        "size": FieldType(Size, Size.SMALL, "1"),
        "moods": FieldType(dict[Colour, Mood], {Colour.DEEP: Mood.GOOD}, '{"red": "good"}'),
        "address": FieldType(Address, Address(street="Elm"), '{"street": "Elm", "number": 2}'),
        "person": FieldType(Person, person, written_person),
        "people": FieldType(list[Person] | None, [person], f"[{written_person}]"),
        "tree": FieldType(Tree, Tree(label="a", children=[Tree(label="b")]), '{"label": "a", "children": []}'),
        "pair": FieldType(tuple[str, int], ("a", 1), '["a", 1]'),
        "numbers": FieldType(tuple[int, ...], (1, 2, 3), "[1, 2]"),
        "unique": FieldType(set[int], {3}, "[4]"),
        "frozen": FieldType(frozenset[int], frozenset({3}), "[4]"),
        "moment": FieldType(datetime.datetime, datetime.datetime(2024, 2, 29, 1, 2, 3, 4), "2024-02-29T01:02:03"),
        "zoned": FieldType(
            datetime.datetime, datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc), "2024-02-29T01:02:03Z"
        ),
        "day": FieldType(datetime.date, datetime.date(2024, 2, 29), "2024-02-29"),
        "span": FieldType(datetime.timedelta, datetime.timedelta(days=-3, microseconds=1), "P1D"),
        "price": FieldType(Decimal, Decimal("1.10"), "1.10"),
        "key": FieldType(UUID, UUID(int=5), str(UUID(int=6))),
        "place": FieldType(PurePosixPath, PurePosixPath("/a"), "/b"),
        "bounded": FieldType(Annotated[int, pydantic.Field(ge=0, le=9)], 5, "5"),
        "digits": FieldType(
            Annotated[Decimal, pydantic.Field(max_digits=5, decimal_places=2, strict=True)], Decimal("1.5"), "1.25"
        ),
        "remarked": FieldType(Annotated[list[str], "a remark"], ["a"], '["a"]'),
        "nested_bounds": FieldType(list[Annotated[int, annotated_types.Ge(0), pydantic.Field(le=9)]], [5], "[5]"),
        "point": FieldType(Point, Point(1), '{"x": 1, "y": 2}'),
        "points": FieldType(list[Fixed], [Fixed(1)], '[{"x": 1}]'),
        "movie": FieldType(Movie, {"title": "Alien", "year": 1979}, '{"title": "Alien", "year": 1979}'),
        "movies": FieldType(list[Movie], [{"title": "Alien", "year": 1979}], "[]"),
        "named_pair": FieldType(Pair, Pair("a", 1), '["a", 1]'),
    }


def made_here() -> dict[str, FieldType]:
    """Types that no other process can import."""

    class Grade(enum.Enum):
        LOW, HIGH = 1, "high"

    class Shade(str, enum.Enum):
        DARK = "dark"

    class Level(enum.IntEnum):
        ONE = 1

    class Room(pydantic.BaseModel):
        """A room."""

        name: str = pydantic.Field(description="as on the door", max_length=20)
        grade: Grade = Grade.HIGH
        shades: list[Shade] | None = None

    class House(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")

        rooms: dict[str, Room]
        address: Address | None = None

    house = House(rooms={"a": Room(name="A", shades=[Shade.DARK])}, colour="red")
    return {
        "local_grade": FieldType(Grade, Grade.LOW, "high"),
        "local_shade": FieldType(Shade, Shade.DARK, "dark"),
        "local_level": FieldType(Level, Level.ONE, "1"),
        "local_room": FieldType(Room, Room(name="A"), '{"name": "A"}'),
        "local_house": FieldType(list[House], [house], '[{"rooms": {}}]'),
        "local_choice": FieldType(Literal[Grade.LOW, "a"], Grade.LOW, "a"),
        "created": FieldType(pydantic.create_model("Created", n=(int, 3)), None, '{"n": 3}'),
        "functional": FieldType(enum.Enum("Functional", ["A", "B"]), None, "1"),
    }


def of_dspy() -> dict[str, FieldType]:
    """DSPy's own types, those that this release has."""
    pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    turns = dspy.History(messages=[{"question": "Who?", "answer": "Ann"}])
    calls = dspy.ToolCalls.from_dict_list([{"name": "weather", "args": {"city": "Rome"}}])
    written_calls = '{"tool_calls": [{"name": "weather", "args": {"city": "Rome"}}]}'
    types = {
        "image": FieldType(dspy.Image, dspy.Image(url=pixel), pixel),
        "images": FieldType(list[dspy.Image], [dspy.Image(url=pixel)], "[]"),
        "audio": FieldType(dspy.Audio, dspy.Audio(data="UklGRg==", audio_format="wav"), None),
        "history": FieldType(dspy.History, turns, '{"messages": []}'),
        "tool_calls": FieldType(dspy.ToolCalls, calls, written_calls),
        "code": FieldType(dspy.Code, dspy.Code(code="x = 1"), "```python\nx = 2\n```"),
        "java": FieldType(dspy.Code["java"], dspy.Code["java"](code="int x;"), "```java\nint y;\n```"),
    }
    if hasattr(dspy, "Reasoning"):
        types["thought"] = FieldType(dspy.Reasoning, dspy.Reasoning(content="so"), "thus")
    if hasattr(dspy, "File"):
        types["file"] = FieldType(dspy.File, dspy.File(file_data="data:text/plain;base64,YQ==", filename="a.txt"), None)
    return {**types, **_experimental()}


def _experimental() -> dict[str, FieldType]:
    """Those that newer releases have, and call experimental."""
    try:
        from dspy import experimental
    except ImportError:
        return {}
    documents = [experimental.Document(data="Earth orbits.", title="Facts")]
    cited = {"cited_text": "Earth", "document_index": 0, "start_char_index": 0, "end_char_index": 5}
    citations = experimental.Citations.from_dict_list([cited])
    types = {
        "documents": FieldType(list[experimental.Document], documents, "[]"),
        "citations": FieldType(experimental.Citations, None, "[]"),
        "citation_list": FieldType(list[experimental.Citations.Citation], citations.citations, "[]"),
    }
    if not hasattr(experimental, "Choice"):
        return types
    options = experimental.Choice[("billing", "Payment"), (3, "Bug")]
    return {
        **types,
        "noul": FieldType(experimental.Noul, None, '{"value": true, "confidence": 0.5}'),
        "criteria": FieldType(experimental.Noul[(True, "blocked"), (False, "usable")], None, '{"value": true}'),
        "score": FieldType(experimental.Score["poor", "fair", "good"], None, '{"value": 1.5, "confidence": 0.5}'),
        "option": FieldType(options, None, '{"value": "billing"}'),
        "native": FieldType(Annotated[bool, experimental.Noul[(True, "blocked"),]], True, "true"),
    }


def all_types() -> dict[str, FieldType]:
    """All of them."""
    return {**importable(), **made_here(), **of_dspy()}

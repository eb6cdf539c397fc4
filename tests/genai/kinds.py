"""Classes that values of examples are of, importable as a user's would be."""

from dataclasses import dataclass
from enum import Enum

import pydantic


class Mood(Enum):
    GOOD = "good"
    BAD = "bad"


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


@dataclass
class Point:
    x: float
    y: float

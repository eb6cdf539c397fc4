"""Names that a hostile model may try: whatever runs is noted in RUN."""

import os
from os import system  # noqa: F401, what a model may not reach through this module
from typing import Any

import dspy
import pydantic

RUN: list[str] = []


def function(*args: Any, **kwargs: Any) -> None:
    """Must not be called by loading."""
    RUN.append("function")


def working_folder() -> str:
    """Uses a module, as modules do."""
    return os.getcwd()


class Foreign:
    """No part of a program."""

    def __init__(self, *args: Any, **kwargs: Any):
        RUN.append("Foreign")

    def __setstate__(self, state: Any) -> None:
        RUN.append("Foreign.__setstate__")

    @classmethod
    def load_state(cls, state: Any) -> None:
        RUN.append("Foreign.load_state")


class Own(dspy.Module):
    """A user's module."""

    def __init__(self, *args: Any, **kwargs: Any):
        RUN.append("Own")


class Value(pydantic.BaseModel):
    """A value, whose constructor no model may call."""

    def __init__(self, **values: Any):
        RUN.append("Value")
        super().__init__(**values)

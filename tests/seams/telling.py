"""What the tests of the optimizers' seams share: who is told, and scripted answers to whatever is asked."""

import gc
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Fact(NamedTuple):
    """One thing that was told, and in which thread."""

    kind: str
    facts: dict[str, Any]
    thread: threading.Thread


class Told:
    """Keeps what it is told.

    Attributes:
        all: Everything, in order of time.
    """

    def __init__(self) -> None:
        self.all: list[Fact] = []

    @property
    def threads(self) -> set[threading.Thread]:
        """Where it was told."""
        return {fact.thread for fact in self.all}

    def __call__(self, kind: str, /, **facts: Any) -> None:
        self.all.append(Fact(kind, facts, threading.current_thread()))

    def of(self, kind: str, /, **known: Any) -> list[dict[str, Any]]:
        """The facts of one kind, in order, of which some are known."""
        found = [fact.facts for fact in self.all if fact.kind == kind]
        return [facts for facts in found if known.items() <= {name: facts[name] for name in known}.items()]


@contextmanager
def watching(watch: Callable, tell: Callable[..., None]) -> Iterator[None]:
    """Have a seam tell something, until the end of the block."""
    undo = watch(tell)
    try:
        yield
    finally:
        undo()


def faulty(kind: str, /, **facts: Any) -> None:
    """A listener that cannot take anything."""
    raise ValueError("told something")


def asked_fields(messages: list[dict[str, Any]]) -> list[str]:
    """The output fields that `dspy.ChatAdapter` asks for at the end of its last message."""
    request = str(messages[-1]["content"]).rpartition("Respond with")[2]
    return [name for name in re.findall(r"\[\[ ## (\w+) ## \]\]", request) if name != "completed"]


def instructions_of(program: Any) -> dict[str, str]:
    """The instructions of each predictor."""
    return {name: predictor.signature.instructions for name, predictor in program.named_predictors()}


def alive(name: str) -> list[Any]:
    """The objects of classes of this name that something still holds."""
    gc.collect()
    return [each for each in gc.get_objects() if type(each).__name__ == name]

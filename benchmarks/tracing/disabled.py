"""What a call costs where this package is installed and nothing is traced."""

from typing import Any

from benchmarks.figures import with_range
from benchmarks.tracing.bench import Bench
from benchmarks.tracing.contenders import CONTENDERS
from benchmarks.tracing.rounds import Turns, quartiles, take_turns
from benchmarks.tracing.sizes import Sizes
from benchmarks.tracing.stores import Store

TITLE = "disabled: a call without tracing, ms"
GOAL = "goal: / none at most 1.05"
CONTENDERS_HERE = ("none", "installed", "autolog-off", "tracing-off", "mlflow-tracing-off")
HEAD = ("", "a call: wall", "/ none", "a call: CPU", "/ none", "what")


def measure(bench: Bench, store: Store, sizes: Sizes) -> dict[str, Any]:
    """Measure the ways to trace nothing."""
    turns = take_turns(bench, store, CONTENDERS_HERE, sizes, sizes.disabled_calls)
    return {"table": table(turns), "contenders": {name: turn.figures() for name, turn in turns.items()}}


def table(turns: dict[str, Turns]) -> list[tuple[str, ...]]:
    """A row a contender: medians over the rounds, with the range of the middle half."""
    return [HEAD, *((name, *_cells(turns, name, "wall"), *_cells(turns, name, "cpu"), _what(name)) for name in turns)]


def _cells(turns: dict[str, Turns], name: str, figure: str) -> tuple[str, str]:
    own = [getattr(one, figure) for one in turns[name].rounds]
    beside = [value / getattr(none, figure) for value, none in zip(own, turns["none"].rounds, strict=True)]
    return with_range(*quartiles([1000 * value for value in own])), with_range(*quartiles(beside))


def _what(name: str) -> str:
    return CONTENDERS[name].what

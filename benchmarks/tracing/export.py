"""What a trace costs in CPU until it is stored, in all threads of the program and in the server."""

from typing import Any

from benchmarks.figures import ratio, with_range
from benchmarks.tracing.bench import Bench
from benchmarks.tracing.rounds import Turns, added, quartiles, runnable, take_turns
from benchmarks.tracing.sizes import Sizes
from benchmarks.tracing.stores import Store

TITLE = "export: CPU of a trace, ms, into {kind}"
GOAL = "goal of the plugin: all threads at most 0.5 of mlflow; export is all threads without the one that calls"
CONTENDERS_HERE = ("none", "floor", "plugin", "mlflow", "openinference")
HEAD = ("", "lost", "all threads", "/ mlflow", "export", "/ mlflow", "server", "/ mlflow")
FIGURES = ("process", "export", "server")


def measure(bench: Bench, store: Store, sizes: Sizes) -> dict[str, Any]:
    """Measure all contenders that can send to the store."""
    names = runnable(CONTENDERS_HERE, store)
    turns = take_turns(bench, store, names, sizes, sizes.calls)
    return {"table": table(turns), "contenders": {name: turn.figures() for name, turn in turns.items()}}


def table(turns: dict[str, Turns]) -> list[tuple[str, ...]]:
    """A row a contender: medians over the rounds, with the range of the middle half."""
    spent = {name: {figure: quartiles(added(turns, name, figure)) for figure in FIGURES} for name in turns}
    return [HEAD, *(_row(name, turns[name].lost, spent) for name in turns if name != "none")]


def _row(name: str, lost: int, spent: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    cells = [
        cell
        for figure in FIGURES
        for cell in (with_range(*spent[name][figure]), ratio(spent[name][figure][0], spent["mlflow"][figure][0]))
    ]
    return (name, str(lost), *cells)

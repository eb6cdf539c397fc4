"""What becomes of thousands of calls at once: which traces arrive, how soon, and what memory they take until then."""

import time
from typing import Any

from benchmarks.tracing.bench import Bench, Child
from benchmarks.tracing.sizes import Sizes
from benchmarks.tracing.stores import Store, doubled

TITLE = "burst: {calls} calls at once, traces go to {kind}"
GOAL = "goal of the plugin: no trace is missing, or there twice"
CONTENDERS_HERE = ("plugin", "mlflow")
# What the program does after its calls -> whether it waits until no more traces arrive.
ENDINGS = {"lives on": True, "ends at once": False}
ROWS = (
    *("calls: s", "stored when they end", "stored while it lives on", "after: s", "its end: s", "stored then"),
    *("stored after the next process", "missing", "doubled", "memory before: MB", "peak: MB", "delivery says"),
)


def measure(bench: Bench, store: Store, sizes: Sizes) -> dict[str, Any]:
    """Measure the contenders one after the other, in a program that lives on and in one that ends."""
    figures = {
        f"{name}, {ending}": measure_one(bench, store, name, lives_on, sizes)
        for ending, lives_on in ENDINGS.items()
        for name in CONTENDERS_HERE
    }
    shown = [(row, *(_cell(one.get(row)) for one in figures.values())) for row in ROWS]
    return {"table": [("", *figures), *shown], "contenders": figures}


def measure_one(bench: Bench, store: Store, name: str, lives_on: bool, sizes: Sizes) -> dict[str, Any]:
    """Have a process make its calls and end, and start one more if traces are missing."""
    with bench.side_by_side([name], store) as children:
        child = children[name]
        child.warm_up()
        before, numbers = child.ask("memory"), set(range(child.made, child.made + sizes.burst))
        called = child.calls(sizes.burst)
        figures = {"calls: s": called["wall"] * sizes.burst, "stored when they end": len(stored(child, numbers))}
        if lives_on:
            figures |= watch(child, numbers, called["ended"], sizes.burst_patience)
        figures |= {"memory before: MB": before["rss"], "peak: MB": child.ask("memory")["peak"]}
        figures |= {"delivery says": child.ask("report")["delivery"]}
        figures |= {"its end: s": child.end(), "stored then": len(stored(child, numbers))}
    if numbers.difference(stored(child, numbers)):
        start_another(bench, child, sizes)
    found = stored(child, numbers)
    missing = len(numbers.difference(found))
    return {**figures, "stored after the next process": len(found), "missing": missing, "doubled": doubled(found)}


def watch(child: Child, numbers: set[int], ended: float, patience: float) -> dict[str, Any]:
    """Wait as long as traces arrive; where some never do, the last of the others is what counts."""
    child.wait_for_traces(patience)
    found = stored(child, numbers)
    waited = time.time() - ended - (patience if numbers.difference(found) else 0)
    return {"stored while it lives on": len(found), "after: s": max(waited, 0.0)}


def start_another(bench: Bench, ended: Child, sizes: Sizes) -> None:
    """Run one more process as the one that has ended, which may bring what that one has left."""
    with bench.side_by_side([ended.name], ended.store) as children:
        children[ended.name].warm_up()
        ended.wait_for_traces(sizes.burst_patience)


def stored(child: Child, numbers: set[int]) -> list[int]:
    """Those of the numbers of calls whose traces have arrived, each as often as it has."""
    return [number for number in child.arrived() if number in numbers]


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(one)}" for key, one in value.items())
    return "-" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)

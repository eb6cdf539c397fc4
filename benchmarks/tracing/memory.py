"""Whether the memory of a process grows with the calls that it has made."""

import statistics
from typing import Any

from benchmarks.tracing.bench import Bench, Child
from benchmarks.tracing.sizes import Sizes
from benchmarks.tracing.stores import Store

TITLE = "memory: MB after as many calls, all traces given to {kind}"
GOAL = "goal of the plugin: flat, that is, at most as many bytes a call as no tracing, and the noise of a few MB"
CONTENDERS_HERE = ("none", "plugin", "mlflow")
# As a process that waits for its traces: what memory a queue takes that is never waited for, `burst` tells.
FLUSH_EVERY = 100


def measure(bench: Bench, store: Store, sizes: Sizes) -> dict[str, Any]:
    """Measure the contenders one after the other."""
    figures = {}
    for name in CONTENDERS_HERE:
        with bench.side_by_side([name], store) as children:
            figures[name] = measure_one(children[name], sizes)
    return {"table": table(figures), "contenders": figures}


def measure_one(child: Child, sizes: Sizes) -> dict[str, Any]:
    """Look at the memory of a process every so many calls, when their traces are stored."""
    calls, sizes_in_mb = [0], []
    child.warm_up()
    sizes_in_mb.append(child.ask("memory")["rss"])
    for _ in range(sizes.memory_samples):
        child.calls(sizes.memory // sizes.memory_samples, flush_every=FLUSH_EVERY)
        child.settle()
        calls.append(calls[-1] + sizes.memory // sizes.memory_samples)
        sizes_in_mb.append(child.ask("memory")["rss"])
    stored = len(child.arrived()) if child.store.database else child.ask("discarded")["arrived"]
    return {
        "calls": calls,
        "rss": sizes_in_mb,
        "growth": growth(calls, sizes_in_mb),
        "made": child.made,
        "stored": stored,
    }


def growth(calls: list[int], sizes_in_mb: list[float]) -> float:
    """Bytes a call over the second half, when all that is made once is there."""
    half = len(calls) // 2
    return 2**20 * statistics.linear_regression(calls[half:], sizes_in_mb[half:]).slope


def table(figures: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each look, a column for each contender."""
    by_calls = zip(figures["none"]["calls"], *(figures[name]["rss"] for name in figures), strict=True)
    looks = [(f"{calls} calls", *(f"{size:.1f}" for size in rss)) for calls, *rss in by_calls]
    grown = ("second half: bytes a call", *(f"{figures[name]['growth']:.0f}" for name in figures))
    stored = ("traces stored, of calls made", *(f"{one['stored']} of {one['made']}" for one in figures.values()))
    return [("", *figures), *looks, grown, stored]

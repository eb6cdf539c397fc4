"""Contenders in turns: a round of calls by each, and again, so that what drifts on the machine hits all alike."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.tracing.bench import NO_VARIABLES, Bench, Child
from benchmarks.tracing.contenders import CONTENDERS
from benchmarks.tracing.sizes import Sizes
from benchmarks.tracing.stores import Store


@dataclass(frozen=True)
class Round:
    """What one round of a contender cost, in seconds a call.

    Attributes:
        wall: On the clock, in the thread that calls.
        cpu: Of that thread's CPU.
        process: Of the CPU of all threads, until the traces are in the store.
        server: Of the server's CPU, until then.
    """

    wall: float
    cpu: float
    process: float
    server: float

    @property
    def export(self) -> float:
        """Of the CPU of the threads that do not call."""
        return self.process - self.cpu


@dataclass
class Turns:
    """What a contender did in all sets.

    Attributes:
        spans: The spans of each trace.
        lost: Traces that never came.
        first: What the first call cost, in each set.
        rounds: The rounds of all sets, in the order in which they ran.
    """

    spans: int
    lost: int
    first: list[dict[str, float]]
    rounds: list[Round]

    def figures(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self)


def take_turns(
    bench: Bench,
    store: Store,
    names: Sequence[str],
    sizes: Sizes,
    calls: int,
    variables: Mapping[str, str] = NO_VARIABLES,
) -> dict[str, Turns]:
    """Measure the contenders side by side.

    Args:
        bench: Where they run.
        store: Where their traces go.
        names: The contenders.
        sizes: How many sets of processes, and rounds in each.
        calls: Calls of each round.
        variables: More environment variables of all.
    """
    turns = {name: Turns(0, 0, [], []) for name in names}
    for _ in range(sizes.repeat):
        with bench.side_by_side(names, store, variables) as children:
            _take_turns_once(children, turns, sizes.rounds, calls)
    return turns


def _take_turns_once(children: dict[str, Child], turns: dict[str, Turns], rounds: int, calls: int) -> None:
    for name, child in children.items():
        turns[name].first.append(child.warm_up())
    for number in range(rounds):
        for name in _rotated([*children], number):
            turns[name].rounds.append(measure_round(children[name], calls))
    for name, child in children.items():
        turns[name].spans = child.spans
        turns[name].lost += child.lost


def runnable(names: Sequence[str], store: Store) -> list[str]:
    """The contenders that are installed and can send to a store."""
    return [name for name in names if store.kind in CONTENDERS[name].stores and CONTENDERS[name].installed]


def measure_round(child: Child, calls: int) -> Round:
    """Have a contender call the program, and wait until the traces are stored."""
    server = child.store.server_cpu()
    called = child.calls(calls)
    child.settle()
    process = child.ask("clock")["process"] - called["process_before"]
    return Round(called["wall"], called["cpu"], process / calls, (child.store.server_cpu() - server) / calls)


def added(turns: dict[str, Turns], name: str, figure: str) -> list[float]:
    """What a contender adds to the program without tracing, of each round, in milliseconds a call."""
    pairs = zip(turns[name].rounds, turns["none"].rounds, strict=True)
    return [1000 * (getattr(own, figure) - getattr(none, figure)) for own, none in pairs]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the range of the middle half."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def _rotated(names: Sequence[str], by: int) -> list[str]:
    start = by % len(names)
    return [*names[start:], *names[:start]]

"""What tracing adds to a call of the program, for the thread that makes it, before anything is sent."""

from collections.abc import Mapping
from typing import Any

from benchmarks.figures import ratio, with_range
from benchmarks.tracing.bench import Bench
from benchmarks.tracing.contenders import CONTENDERS
from benchmarks.tracing.rounds import Turns, added, quartiles, runnable, take_turns
from benchmarks.tracing.sizes import Sizes
from benchmarks.tracing.stores import Store

TITLE = "caller: what tracing adds to a call, ms; traces go to {kind} between the rounds"
GOAL = "goal of the plugin: added at most 1.2 of the floor, and 0.7 of mlflow"
CONTENDERS_HERE = ("none", "callback", "floor", "plugin", "mlflow", "openinference")
# What MLflow's and OpenTelemetry's batches wait for: with these, for the flush that ends a round.
HELD_BACK = {
    "MLFLOW_ASYNC_TRACE_LOGGING_MAX_SPAN_BATCH_SIZE": "20000",
    "MLFLOW_ASYNC_TRACE_LOGGING_MAX_INTERVAL_MILLIS": "600000",
    "MLFLOW_ASYNC_TRACE_LOGGING_MAX_QUEUE_SIZE": "100000",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20000",
    "OTEL_BSP_MAX_QUEUE_SIZE": "20000",
    "OTEL_BSP_SCHEDULE_DELAY": "600000",
}
CLOCKS = ("wall", "cpu")
BESIDE = ("floor", "mlflow")
HEAD = (
    *("", "spans", "lost", "added: wall", "/ floor", "/ mlflow"),
    *("added: CPU", "/ floor", "/ mlflow", "first call", "its CPU", "what"),
)


def measure(bench: Bench, store: Store, sizes: Sizes) -> dict[str, Any]:
    """Measure all contenders that can send to the store, with nothing sent while they run."""
    return measure_with(HELD_BACK, bench, store, sizes, sizes.caller_calls)


def measure_with(variables: Mapping[str, str], bench: Bench, store: Store, sizes: Sizes, calls: int) -> dict[str, Any]:
    """Measure all contenders that can send to the store, with more environment variables."""
    turns = take_turns(bench, store, runnable(CONTENDERS_HERE, store), sizes, calls, variables)
    return {"table": table(turns), "contenders": {name: turn.figures() for name, turn in turns.items()}}


def table(turns: dict[str, Turns]) -> list[tuple[str, ...]]:
    """A row a contender: medians over the rounds, with the range of the middle half."""
    middle = {name: [quartiles(added(turns, name, clock)) for clock in CLOCKS] for name in turns}
    return [HEAD, *((*_row(name, turns[name], middle), CONTENDERS[name].what) for name in turns)]


def _row(name: str, turn: Turns, middle: dict[str, list[tuple[float, float, float]]]) -> list[str]:
    cells = [name, str(turn.spans), str(turn.lost)]
    for index, clock in enumerate(CLOCKS):
        if name == "none":
            alone = with_range(*quartiles([1000 * getattr(one, clock) for one in turn.rounds]))
            cells += [f"alone {alone}", *("" for _ in BESIDE)]
        else:
            own = middle[name][index]
            cells += [with_range(*own), *(ratio(own[0], middle[other][index][0]) for other in BESIDE)]
    return cells + [with_range(*quartiles([1000 * call[clock] for call in turn.first])) for clock in CLOCKS]

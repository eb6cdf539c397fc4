"""What tracing adds to a call while the traces of the calls before are sent: all settings as they come."""

from typing import Any

from benchmarks.tracing import caller
from benchmarks.tracing.bench import NO_VARIABLES, Bench
from benchmarks.tracing.sizes import Sizes
from benchmarks.tracing.stores import Store

TITLE = "contention: what tracing adds to a call, ms; traces go to {kind} meanwhile"
GOAL = "no goal: calls without a pause; on the clock, a caller that shares its interpreter with an export waits for it"


def measure(bench: Bench, store: Store, sizes: Sizes) -> dict[str, Any]:
    """Measure all contenders that can send to the store."""
    return caller.measure_with(NO_VARIABLES, bench, store, sizes, sizes.calls)

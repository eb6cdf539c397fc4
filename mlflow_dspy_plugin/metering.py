"""What LM calls are spent on: calls, tokens, cost and time, by the role of who asks.

A meter counts the calls of the code that inherits it, in threads and tasks too, while `count_answers` is in force.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.tracing.constant import TokenUsageKey

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams.lm_calls import watch_results
from mlflow_dspy_plugin.seams.lm_shapes import Answer, answer_of
from mlflow_dspy_plugin.usage import cost_of, tokens_of

# The program that is improved; what proposes changes to it; what judges its answers.
TASK, REFLECTION, METRIC = "task", "reflection", "metric"
# Under these names code inherits what counts its LM calls, and as whose.
METERS, ROLE = "meters", "role"
_TOKENS = (TokenUsageKey.INPUT_TOKENS, TokenUsageKey.OUTPUT_TOKENS, TokenUsageKey.TOTAL_TOKENS)


class Meter:
    """Counts LM calls by role. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: dict[str, dict[str, Any]] = {}

    def add(self, role: str, answer: Answer, tokens: Mapping[str, int], cost: float | None) -> None:
        """Count an answer, and what it is billed."""
        with self._lock:
            spent = self._spent.setdefault(role, _nothing())
            spent["cached"] += answer.cache_hit
            for name in _TOKENS:
                spent[name] += tokens.get(name, 0)
            if cost is not None:
                spent["cost"] = (spent["cost"] or 0.0) + cost

    def add_call(self, role: str, seconds: float) -> None:
        """Count a call, whatever came of it."""
        with self._lock:
            spent = self._spent.setdefault(role, _nothing())
            spent["calls"] += 1
            spent["seconds"] = round(spent["seconds"] + seconds, 6)

    def as_plain(self) -> dict[str, dict[str, Any]]:
        """As in the record."""
        with self._lock:
            return {role: dict(spent) for role, spent in self._spent.items()}

    def total(self, what: str) -> float:
        """The sum of one figure over all roles."""
        with self._lock:
            return sum(spent[what] or 0 for spent in self._spent.values())


class Spending:
    """What a meter counts from now on, and how long that takes."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._before, self._watch = meter, meter.as_plain(), Stopwatch()

    def until_now(self) -> dict[str, Any]:
        """As in the record, of a candidate."""
        usage = {}
        for role, spent in self._meter.as_plain().items():
            before = self._before.get(role) or _nothing()
            more = {name: round((amount or 0) - (before[name] or 0), 6) for name, amount in spent.items()}
            if more["calls"]:
                # A cost that nobody knows is no zero.
                usage[role] = {**more, "cost": None if spent["cost"] is None else more["cost"]}
        return {"seconds": round(self._watch.seconds, 4), "usage": usage}


def _nothing() -> dict[str, Any]:
    return {"calls": 0, "cached": 0, **dict.fromkeys(_TOKENS, 0), "cost": None, "seconds": 0.0}


def count_answers() -> Callable[[], None]:
    """Have answers of language models counted by the meters that the code that asks has inherited.

    Asking for it twice counts them once.

    Returns:
        What takes this one asking back.
    """
    return watch_results(_answered)


def count_call(seconds: float) -> None:
    """Count a call of a language model that has ended, in the code that asked."""
    for meter in handed_down.inherited(METERS) or ():
        meter.add_call(_role(), seconds)


@never_raises
def _answered(result: Any) -> None:
    if meters := handed_down.inherited(METERS):
        answer, role = answer_of(result), _role()
        tokens, cost = _billed(answer)
        for meter in meters:
            meter.add(role, answer, tokens, cost)


def _role() -> str:
    return handed_down.inherited(ROLE) or REFLECTION


def _billed(answer: Answer) -> tuple[Mapping[str, int], float | None]:
    """The tokens and the cost of an answer; what DSPy's cache has answered costs nothing."""
    if answer.cache_hit:
        return {}, None
    cost = cost_of(answer.cost)
    return tokens_of(answer.usage), cost and cost["total_cost"]


class Stopwatch:
    """How long something takes."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Until now."""
        return time.monotonic() - self._begin

"""What a record says, read with care for what it lacks: one that is under way or was cut off lacks much."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from mlflow_dspy_plugin.tracking.report import wording
from mlflow_dspy_plugin.tracking.report.wording import PLAIN, Unit

# What an optimizer's LM calls are made for, and what a page calls it.
ROLES = {"task": "Task LM", "reflection": "Reflection LM", "metric": "LM calls of the metric"}

# What a prompt says of a field, and what a page calls it.
FIELD_TEXTS = {"prefix": "prefix", "desc": "description"}


@dataclass(frozen=True)
class Spent:
    """What LM calls have taken; `whole_cost` is False where the cost of some is not known."""

    calls: int = 0
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    seconds: float = 0.0
    cost: float | None = None
    whole_cost: bool = True


_AMOUNTS = ("calls", "cached", "input_tokens", "output_tokens", "total_tokens", "seconds")


def spent(uses: Iterable[Mapping[str, Any] | None]) -> Spent:
    """The sum of what is written in each role."""
    uses = [use for use in uses if use]
    costs = [use.get("cost") for use in uses if use.get("cost") is not None or use.get("calls")]
    known = [cost for cost in costs if cost is not None]
    return Spent(
        **{name: sum(use.get(name) or 0 for use in uses) for name in _AMOUNTS},
        cost=sum(known) if known else None,
        whole_cost=len(known) == len(costs),
    )


def spent_on(held: Mapping[str, Any]) -> Spent:
    """What a record, or one of its candidates, has spent in all roles."""
    return spent((held.get("usage") or {}).values())


def candidates_of(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The candidates in the order they were scored."""
    return record.get("candidates") or []


def tried_in(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The candidates, each once however often it was scored."""
    return [each for each in candidates_of(record) if each.get("same_as") is None]


def unit_of(record: Mapping[str, Any]) -> Unit:
    """How its scores are said: in percent, unless they were not given in percent."""
    percent, scores = record.get("percent") is not False, [each.get("score") for each in candidates_of(record)]
    return wording.unit_of([*scores, record.get("baseline"), record.get("best_score")]) if percent else PLAIN


def best_of(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The best candidate, where one was."""
    best = record.get("best")
    return next((each for each in candidates_of(record) if best is not None and each.get("number") == best), None)


def chosen_of(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The candidate that the optimizer has returned; the best where it was no candidate, or is not known."""
    best, returned = best_of(record), record.get("returned")
    same = [each for each in candidates_of(record) if returned is not None and each.get("program") == returned]
    if not same or best in same:
        return best
    return max(same, key=lambda each: (each.get("kind") != "minibatch", _or_lowest(each.get("score"))))


def _or_lowest(score: float | None) -> float:
    return -math.inf if score is None else score


def program_returned(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The program that was returned, where it could be written."""
    return (record.get("programs") or {}).get(record.get("returned"))


def program_of(record: Mapping[str, Any], candidate: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The program of a candidate, where it could be written."""
    return (record.get("programs") or {}).get((candidate or {}).get("program"))


def program_before(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The program before, where it could be written."""
    return (record.get("programs") or {}).get(record.get("before"))


def is_before(record: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
    """Whether a candidate is the program before, and not a change of it."""
    return candidate.get("program") is not None and candidate["program"] == record.get("before")


def predictors_of(program: Mapping[str, Any] | None) -> Mapping[str, Mapping[str, Any]]:
    """The predictors of a program by their names."""
    return (program or {}).get("predictors") or {}


def leading(candidates: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The candidates that were the best when they were scored."""
    return [each for each in candidates if each.get("is_best_so_far") and each.get("score") is not None]


def most_telling(record: Mapping[str, Any], most: int) -> list[Mapping[str, Any]]:
    """At most so many candidates, in order: the best, the first, then those that led, were accepted, are newest."""
    candidates, ends = candidates_of(record), (best_of(record), chosen_of(record))
    newest_first = list(enumerate(candidates))[::-1]
    by_worth = chain(
        (place for place, each in newest_first if any(each is end for end in ends)),
        [0],
        (place for place, each in newest_first if each.get("is_best_so_far")),
        (place for place, each in newest_first if each.get("status") == "accepted"),
        (place for place, each in newest_first if each.get("same_as") is None),
        (place for place, _ in newest_first),
    )
    places = list(dict.fromkeys(by_worth))[: min(most, len(candidates))]
    return [candidates[place] for place in sorted(places)]

"""Rows of two evaluations, paired by the example that they are about."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """One example in two evaluations.

    Attributes:
        id: The digest of the example.
        a: Its row in the first.
        b: Its row in the second.
    """

    id: str
    a: Row
    b: Row

    @property
    def score_a(self) -> float | None:
        """The score in the first, where it is a number."""
        return score_of(self.a)

    @property
    def score_b(self) -> float | None:
        """The score in the second, where it is a number."""
        return score_of(self.b)

    @property
    def change(self) -> float | None:
        """By how much the score went up."""
        return None if self.score_a is None or self.score_b is None else self.score_b - self.score_a


@dataclass(frozen=True)
class Pairs:
    """All examples of two evaluations.

    Attributes:
        both: Those that both have, in the order of the second.
        only_a: Rows that only the first has.
        only_b: Rows that only the second has.
    """

    both: tuple[Pair, ...]
    only_a: tuple[Row, ...]
    only_b: tuple[Row, ...]

    @cached_property
    def won(self) -> tuple[Pair, ...]:
        """Those that score higher in the second."""
        return tuple(each for each in self.scored if each.change > 0)

    @cached_property
    def lost(self) -> tuple[Pair, ...]:
        """Those that score lower in the second."""
        return tuple(each for each in self.scored if each.change < 0)

    @cached_property
    def same(self) -> tuple[Pair, ...]:
        """Those that score the same in both."""
        return tuple(each for each in self.scored if each.change == 0)

    @cached_property
    def scored(self) -> tuple[Pair, ...]:
        """Those with a score in both."""
        return tuple(each for each in self.both if each.change is not None)

    @cached_property
    def unscored(self) -> tuple[Pair, ...]:
        """Those without a score in one or in both."""
        return tuple(each for each in self.both if each.change is None)


def pair_rows(rows_a: Iterable[Row], rows_b: Iterable[Row]) -> Pairs:
    """Pair two evaluations' rows; of an example that is there several times, the first with the first, and so on."""
    a, b = _by_example(rows_a), _by_example(rows_b)
    return Pairs(
        tuple(Pair(key[0], a[key], row) for key, row in b.items() if key in a),
        tuple(row for key, row in a.items() if key not in b),
        tuple(row for key, row in b.items() if key not in a),
    )


def _by_example(rows: Iterable[Row]) -> dict[tuple[str, int], Row]:
    seen: Counter[str] = Counter()
    found = {}
    for row in rows:
        example = str(row.get("id"))
        found[example, seen[example]] = row
        seen[example] += 1
    return found


def score_of(row: Row) -> float | None:
    """The score of a row as a number; None where the metric gave none."""
    score = row.get("score")
    if isinstance(score, (bool, int, float)) and math.isfinite(score):
        return float(score)
    return None


def digest_of(fields: Mapping[str, Any]) -> str:
    """What identifies an example: the same fields have the same digest, in any order."""
    written = json.dumps(_without_whole_floats(fields), sort_keys=True, default=str)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _without_whole_floats(value: Any) -> Any:
    """A table makes floats of integers in a column that has gaps."""
    if isinstance(value, Mapping):
        return {str(key): _without_whole_floats(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_whole_floats(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value

"""Scores, money, times and counts as people say them."""

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import NamedTuple

UNKNOWN = "–"
MINUS = "\N{MINUS SIGN}"


def percent(score: float | None) -> str:
    """The score of an evaluation, which DSPy gives in percent."""
    return UNKNOWN if score is None else _signed(f"{score:,.1f}%")


def points(difference: float | None) -> str:
    """The difference of two scores of evaluations."""
    return UNKNOWN if difference is None else f"{signed(difference)} points"


def signed(difference: float) -> str:
    """A difference with its sign; none where it is nought as far as is shown."""
    rounded = round(difference, 1)
    return _signed(f"{rounded:+,.1f}") if rounded else "0.0"


def mark(score: float | None) -> str:
    """The score of one example, as the metric gave it."""
    if score is None:
        return UNKNOWN
    return _signed(f"{score:,.3f}".rstrip("0").rstrip("."))


class Unit(NamedTuple):
    """How scores of evaluations, and their differences, are said; and the sign behind a score."""

    score: Callable[[float | None], str]
    difference: Callable[[float | None], str]
    sign: str


def unit_of(scores: Iterable[float | None]) -> Unit:
    """The unit of scores: some metrics give more than 1 for an example, or less than 0, which is no share of it."""
    return PERCENT if all(0 <= score <= 100 for score in scores if score is not None) else PLAIN


def _plain_difference(difference: float | None) -> str:
    return UNKNOWN if difference is None else f"{'+' if difference > 0 else ''}{mark(difference)}"


def number(count: float | None) -> str:
    """A count, with its thousands apart."""
    return UNKNOWN if count is None else f"{count:,.0f}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun."""
    return f"{number(count)} {noun if count == 1 else plural or noun + 's'}"


def money(cost: float | None) -> str:
    """US dollars, as exact as small sums want it."""
    if cost is None:
        return "unknown"
    if 0 < cost < 0.000001:
        return "< $0.000001"
    if cost == 0:
        return "$0"
    return f"${cost:,.{2 if cost >= 1 else 4 if cost >= 0.001 else 6}f}"


def duration(seconds: float | None) -> str:
    """A time that something took."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds * 1000:.0f} ms" if 0 < seconds < 0.9995 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def moment(seconds: float) -> str:
    """A point in time, given in seconds since the epoch."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _signed(figure: str) -> str:
    return figure.replace("-", MINUS)


PERCENT = Unit(percent, points, "%")
PLAIN = Unit(mark, _plain_difference, "")

"""The difference of two evaluations, and how sure it is: a paired bootstrap."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Cells that are drawn at once: enough to be quick, few enough for any memory.
_AT_ONCE = 2_000_000
# Resamples of fewer examples are so alike that an interval of them says nothing.
FEWEST = 10


@dataclass(frozen=True)
class Difference:
    """By how much the second of two evaluations is better.

    Attributes:
        examples: Number of examples that both have scored; all else is over these.
        score_a: The first's score, in percent as DSPy gives it.
        score_b: The second's.
        difference: In points: score_b - score_a.
        interval: Where the difference is in 95% of the resamples; None of fewer than `FEWEST` examples.
        resamples: How many there were.
    """

    examples: int
    score_a: float | None
    score_b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    resamples: int


def paired_difference(a: Sequence[float], b: Sequence[float], *, resamples: int, seed: int) -> Difference:
    """The difference of the scores of the same examples, in percent; the same every time.

    Args:
        a: The scores of the first, one an example.
        b: Those of the second, in the same order.
        resamples: How often the examples are drawn anew, with replacement.
        seed: Of the drawing.
    """
    if not len(a):
        return Difference(0, None, None, None, None, 0)
    percent_a, percent_b = (100 * np.asarray(each, dtype=float) for each in (a, b))
    changes = percent_b - percent_a
    means = (float(each.mean()) for each in (percent_a, percent_b, changes))
    if len(a) < FEWEST:
        return Difference(len(a), *means, None, 0)
    low, high = np.quantile(_means(changes, resamples, seed), [0.025, 0.975])
    return Difference(len(a), *means, (float(low), float(high)), resamples)


def _means(changes: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    random, count = np.random.default_rng(seed), len(changes)
    each = max(1, _AT_ONCE // count)
    sizes = [min(each, resamples - start) for start in range(0, resamples, each)]
    return np.concatenate([changes[random.integers(count, size=(size, count))].mean(axis=1) for size in sizes])

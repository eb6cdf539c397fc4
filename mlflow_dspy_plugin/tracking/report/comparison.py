"""The page of two runs side by side: the difference, how sure it is, and the examples that changed side."""

from mlflow_dspy_plugin.tracking.bootstrap import FEWEST, Difference
from mlflow_dspy_plugin.tracking.pairs import Pairs
from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.examples import sides
from mlflow_dspy_plugin.tracking.report.markup import Html, element, join

_WIDTH, _HEIGHT, _MARGIN, _MIDDLE = 1040, 90, 60, 44


def comparison_page(names: tuple[str, str], pairs: Pairs, difference: Difference) -> str:
    """Two runs as a self-contained HTML page, in the look of an optimization's.

    Args:
        names: What the runs are called.
        pairs: Their rows.
        difference: That of their scores.
    """
    title = verdict(names, difference)
    head = element(
        "header",
        element("p", "Comparison of two runs", class_="eyebrow"),
        element("h1", title),
        element("p", f"A is {names[0]}, B is {names[1]}: what B has better is won.", class_="lede"),
        layout.tiles(*_tiles(names, pairs, difference)),
    )
    parts = (
        layout.section("difference", "How sure the difference is", _drawing(difference), _reading(difference)),
        layout.section("examples", "Examples won and lost", sides(pairs, ("A", "B"))),
    )
    return layout.document(title, head, *parts, element("footer", "Made by mlflow-dspy-plugin: mlflow.dspy.compare."))


def verdict(names: tuple[str, str], difference: Difference) -> str:
    """Which run is better, or that nobody can tell, in one sentence."""
    if difference.difference is None:
        return f"{names[0]} and {names[1]} have no example that both have scored"
    if difference.interval is None:
        ahead = wording.points(difference.difference)
        return f"{names[1]} scores {ahead} beside {names[0]} on {difference.examples} examples, too few to tell"
    low, high = difference.interval
    if low <= 0 <= high:
        return f"No sure difference between {names[0]} and {names[1]}"
    better, worse = names[::-1] if low > 0 else names
    return f"{better} is better than {worse} by {wording.points(abs(difference.difference)).lstrip('+')}"


def _tiles(names: tuple[str, str], pairs: Pairs, difference: Difference) -> list[Html]:
    sides = f"{wording.number(len(pairs.won))} won, {wording.number(len(pairs.lost))} lost by B"
    unit = wording.unit_of((difference.score_a, difference.score_b))
    return [
        layout.tile("Score of A", unit.score(difference.score_a), beside=names[0]),
        layout.tile("Score of B", unit.score(difference.score_b), beside=names[1]),
        layout.tile(
            "Difference", wording.points(difference.difference), beside=interval(difference), kind=_kind(difference)
        ),
        layout.tile("Examples compared", wording.number(difference.examples), beside=sides),
    ]


def interval(difference: Difference) -> str | None:
    """The interval in words; None where there is none."""
    if difference.interval is None:
        return None
    low, high = map(wording.signed, difference.interval)
    return f"95% interval {low} to {high}"


def _kind(difference: Difference) -> str:
    """Better or worse only where the interval says so."""
    low, high = difference.interval or (0.0, 0.0)
    return "good" if low > 0 else "bad" if high < 0 else "plain"


def _reading(difference: Difference) -> Html:
    if difference.difference is None:
        return layout.remark("No example has a score in both runs, so there is no difference to show.")
    if difference.interval is None:
        return layout.remark(f"An interval takes at least {FEWEST} examples that both runs have scored.")
    low, high = difference.interval
    sure = (
        "does not hold zero: chance alone hardly explains it" if low > 0 or high < 0 else "holds zero: it may be chance"
    )
    return layout.remark(
        f"Scores are over the {wording.counted(difference.examples, 'example')} that both runs have scored. The "
        f"interval is a paired bootstrap's, of {wording.number(difference.resamples)} resamples of these examples; it "
        f"{sure}. It knows nothing of how a run would differ if it were done again."
    )


def _drawing(difference: Difference) -> Html | None:
    """The interval on a line, with zero on it."""
    if difference.interval is None:
        return None
    low, high = difference.interval
    reach = max(abs(low), abs(high), 1.0) * 1.1

    def x(points: float) -> float:
        return round(_WIDTH / 2 + (_WIDTH / 2 - _MARGIN) * points / reach, 1)

    kind = _kind(difference)
    labels = [(x(end), wording.signed(end)) for end in difference.interval]
    # Two labels at about one place would cover each other.
    if x(high) - x(low) < 60:
        labels = [((x(low) + x(high)) / 2, interval(difference))]
    parts = (
        element("line", x1=_MARGIN, x2=_WIDTH - _MARGIN, y1=_MIDDLE, y2=_MIDDLE, class_="grid"),
        element("line", x1=x(0), x2=x(0), y1=_MIDDLE - 14, y2=_MIDDLE + 22, class_="baseline"),
        element("text", "no difference", x=x(0), y=_MIDDLE + 40, text_anchor="middle"),
        element("line", x1=x(low), x2=x(high), y1=_MIDDLE, y2=_MIDDLE, class_=f"interval {kind}"),
        element("circle", cx=x(difference.difference), cy=_MIDDLE, r=7, class_=f"interval-dot {kind}"),
        [element("text", said, x=at, y=_MIDDLE - 20, text_anchor="middle") for at, said in labels],
    )
    title = element("title", f"Difference {wording.points(difference.difference)}, {interval(difference)}")
    drawing = element("svg", title, join(parts), role="img", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="curve")
    return element("figure", drawing)

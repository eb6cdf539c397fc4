"""The learning curve: every candidate's score, the best so far, and where it began."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.markup import Html, element
from mlflow_dspy_plugin.tracking.report.reading import best_of, candidates_of, leading, unit_of

_WIDTH, _HEIGHT = 1040, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 116, 16, 48
# More dots than this are drawn as one path, without a label for each.
_MOST_DOTS = 400
# What a candidate was scored on -> its class, and what the legend calls it.
_KINDS = {"full": "full evaluation", "minibatch": "minibatch", "train": "training examples"}


@dataclass(frozen=True)
class Scale:
    """From scores and places in the order to points of the drawing."""

    low: float
    high: float
    places: int
    unit: wording.Unit = wording.PERCENT

    def x(self, place: float) -> float:
        """How far from the left the candidate in this place is."""
        inner = _WIDTH - _LEFT - _RIGHT
        return round(_LEFT + inner * ((place + 0.5) / self.places if self.places < 2 else place / (self.places - 1)), 1)

    def y(self, score: float) -> float:
        """How far from the top a score is."""
        inner = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + inner * (self.high - score) / (self.high - self.low), 1)


def curve(record: Mapping[str, Any]) -> Html:
    """The section with the drawing, its legend and what is not in it."""
    candidates = candidates_of(record)
    scores = [each["score"] for each in candidates if each.get("score") is not None]
    if not scores:
        return layout.section("curve", "Learning curve", layout.remark("No candidate has a score."))
    baseline = record.get("baseline")
    low, high, step = _range([*scores, *([] if baseline is None else [baseline])])
    scale = Scale(low, high, len(candidates), unit_of(record))
    drawing = element(
        "svg",
        element("title", "Scores of the candidates in the order they were scored"),
        element("desc", _summary(record, scores)),
        _grid(scale, step, candidates),
        _baseline(baseline, scale),
        _steps(candidates, scale),
        _dots(candidates, scale),
        _best(record, candidates, scale),
        role="img",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="curve",
    )
    missing = len(candidates) - len(scores)
    note = layout.remark(f"Not drawn: {wording.counted(missing, 'candidate')} without a score.") if missing else None
    figure = element("figure", drawing, element("figcaption", _legend(candidates, baseline)))
    return layout.section("curve", "Learning curve", figure, note)


def _summary(record: Mapping[str, Any], scores: list[float]) -> str:
    say = unit_of(record).score
    baseline, best, worst, highest = map(
        say, (record.get("baseline"), record.get("best_score"), min(scores), max(scores))
    )
    counted = wording.counted(len(scores), "score")
    return f"{counted} between {worst} and {highest}; before {baseline}, best {best}."


def _range(scores: Sequence[float]) -> tuple[float, float, float]:
    """Lowest and highest line of the grid, and the step between its lines."""
    low, high = min(scores), max(scores)
    rough = max(high - low, 1.0) * 1.1 / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    bottom, top = math.floor(low / step) * step, math.ceil(high / step) * step
    return bottom, top if top > bottom else bottom + step, step


def _grid(scale: Scale, step: float, candidates: list[Mapping[str, Any]]) -> Iterator[Html]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for count in range(round((scale.high - scale.low) / step) + 1):
        score = scale.low + count * step
        y = scale.y(score)
        yield element("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid")
        yield element(
            "text", f"{score:,.{0 if step >= 1 else 1}f}{scale.unit.sign}", x=_LEFT - 10, y=y + 4, text_anchor="end"
        )
    every = max(1, math.ceil(len(candidates) / 10))
    for place in range(0, len(candidates), every):
        label = candidates[place].get("number", place)
        yield element("text", label, x=scale.x(place), y=bottom + 20, text_anchor="middle")
    middle = (_LEFT + right) / 2
    yield element("text", "candidate, in the order of scoring", x=middle, y=_HEIGHT - 6, text_anchor="middle")


def _baseline(baseline: float | None, scale: Scale) -> Iterator[Html]:
    if baseline is not None:
        y, right = scale.y(baseline), _WIDTH - _RIGHT
        yield element("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="baseline")
        yield element("text", f"before {scale.unit.score(baseline)}", x=right + 12, y=y + 4, class_="baseline-label")


def _steps(candidates: list[Mapping[str, Any]], scale: Scale) -> Html | None:
    """The best score so far, as a line that rises in steps."""
    leaders = {id(each) for each in leading(candidates)}
    points = [(scale.x(place), scale.y(each["score"])) for place, each in enumerate(candidates) if id(each) in leaders]
    if not points:
        return None
    (x, y), *later = points
    path = f"M{x} {y}{''.join(f'H{x}V{y}' for x, y in later)}H{_WIDTH - _RIGHT}"
    return element("path", d=path, class_="steps")


def _dots(candidates: list[Mapping[str, Any]], scale: Scale) -> Iterator[Html]:
    scored = [(place, each) for place, each in enumerate(candidates) if each.get("score") is not None]
    if len(scored) <= _MOST_DOTS:
        yield from (_dot(scale, place, each) for place, each in scored)
        return
    paths: dict[str, list[str]] = {}
    for place, each in scored:
        paths.setdefault(_class(each), []).append(f"M{scale.x(place)} {scale.y(each['score'])}h0")
    for class_, dots in paths.items():
        yield element("path", d="".join(dots), class_=f"{class_} many")


def _dot(scale: Scale, place: int, candidate: Mapping[str, Any]) -> Html:
    x, y = scale.x(place), scale.y(candidate["score"])
    said = f"#{candidate.get('number')}: {scale.unit.score(candidate['score'])}, {candidate.get('kind')}"
    title = element("title", f"{said}, {candidate.get('status')}")
    if candidate.get("kind") == "train":
        return element("rect", title, x=x - 4, y=y - 4, width=8, height=8, class_=_class(candidate))
    return element("circle", title, cx=x, cy=y, r=4.5, class_=_class(candidate))


def _class(candidate: Mapping[str, Any]) -> str:
    kind = candidate.get("kind") if candidate.get("kind") in _KINDS else "full"
    return f"dot {kind} rejected" if candidate.get("status") == "rejected" else f"dot {kind}"


def _best(record: Mapping[str, Any], candidates: list[Mapping[str, Any]], scale: Scale) -> Iterator[Html]:
    best = best_of(record)
    if best is None or best.get("score") is None:
        return
    place = next(place for place, each in enumerate(candidates) if each is best)
    x, y = scale.x(place), scale.y(best["score"])
    yield element("circle", cx=x, cy=y, r=9, class_="ring")
    baseline = record.get("baseline")
    # Two labels at about one height would cover each other.
    near = baseline is not None and abs(scale.y(baseline) - y) < 18
    label = f"best {scale.unit.score(best['score'])}"
    yield element("text", label, x=_WIDTH - _RIGHT + 12, y=y + (-12 if near else 4), class_="best-label")


def _legend(candidates: list[Mapping[str, Any]], baseline: float | None) -> Html:
    scored = [each for each in candidates if each.get("score") is not None]
    kinds = {each.get("kind") for each in scored}
    entries = [(f"dot {kind}", title) for kind, title in _KINDS.items() if kind in kinds]
    if any(each.get("status") == "rejected" for each in scored):
        entries.append(("dot full rejected", "rejected (paler)"))
    if leading(candidates):
        entries.append(("steps", "best so far"))
    if baseline is not None:
        entries.append(("baseline", "before"))
    return element("ul", [element("li", _sample(kind), title) for kind, title in entries], class_="legend")


def _sample(class_: str) -> Html:
    if not class_.startswith("dot"):
        mark = element("line", x1=1, x2=21, y1=7, y2=7, class_=class_)
    elif "train" in class_:
        mark = element("rect", x=7, y=3, width=8, height=8, class_=class_)
    else:
        mark = element("circle", cx=11, cy=7, r=4.5, class_=class_)
    return element("svg", mark, width=22, height=14, aria_hidden="true", class_="sample")

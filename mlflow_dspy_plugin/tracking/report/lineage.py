"""The family tree: which candidate was made from which."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.markup import Html, element
from mlflow_dspy_plugin.tracking.report.reading import best_of, candidates_of, chosen_of, most_telling, unit_of

# A drawing of more is a thicket.
_MOST = 60
_ACROSS, _DOWN, _MARGIN, _RADIUS = 104, 50, 30, 15

Parents = Mapping[Any, list[Any]]


def lineage(record: Mapping[str, Any]) -> Html | None:
    """The section with the tree; None where no candidate was made from another."""
    parents = _parents_of(candidates_of(record))
    if not any(parents.values()):
        return None
    drawn = _drawn(record, parents)
    descent = _descent((chosen_of(record) or {}).get("number"), parents)
    by_number = {each.get("number"): each for each in candidates_of(record)}
    tree = _tree(drawn, parents, by_number, set(descent), record)
    rest = len(parents) - len(drawn)
    note = layout.remark(f"{wording.counted(rest, 'candidate')} of other branches are left out.") if rest else None
    what = "The best" if chosen_of(record) is best_of(record) else "What was returned"
    return layout.section(
        "lineage", "Family tree", _told(what, descent, parents, by_number, unit_of(record)), note, tree
    )


def _parents_of(candidates: list[Mapping[str, Any]]) -> dict[Any, list[Any]]:
    """The parents of each candidate, which is one however often it was scored; none is its own ancestor."""
    stands = {each.get("number"): each.get("number") for each in candidates}
    stands.update({each["number"]: each["same_as"] for each in candidates if each.get("same_as") in stands})
    parents: dict[Any, list[Any]] = {stands[each.get("number")]: [] for each in candidates}
    scored = set()
    for each in candidates:
        child = stands[each.get("number")]
        # One that was not scored before it cannot be its parent.
        for parent in [stands[number] for number in each.get("parents") or [] if number in scored]:
            if parent not in parents[child] and child not in _ancestors(parent, parents):
                parents[child].append(parent)
        scored.add(each.get("number"))
    return parents


def _ancestors(number: Any, parents: Parents) -> set[Any]:
    """A candidate and all that it came from."""
    found, left = set(), [number]
    while left:
        if (each := left.pop()) not in found:
            found.add(each)
            left += parents.get(each, ())
    return found


def _descent(number: Any, parents: Parents) -> list[Any]:
    """A candidate and its first parents, from the oldest on."""
    line = []
    while number in parents:
        line.append(number)
        number = parents[number][0] if parents[number] else None
    return line[::-1]


def _drawn(record: Mapping[str, Any], parents: Parents) -> list[Any]:
    """The best's descent, and the descents of the most telling others while there is room."""
    drawn = dict.fromkeys(_descent((chosen_of(record) or {}).get("number"), parents)[-_MOST:])
    for each in [each.get("number") for each in most_telling(record, _MOST)]:
        line = [number for number in _descent(each, parents) if number not in drawn]
        if len(drawn) + len(line) <= _MOST:
            drawn.update(dict.fromkeys(line))
    return [number for number in parents if number in drawn]


def _told(
    what: str, descent: list[Any], parents: Parents, by_number: Mapping[Any, Mapping[str, Any]], unit: wording.Unit
) -> Html | None:
    """A descent in words, for those who do not see the tree."""
    if len(descent) < 2:
        return None
    shown = descent if len(descent) <= 12 else [*descent[:2], None, *descent[-9:]]
    steps = ["…" if each is None else f"#{each} ({unit.score(by_number[each].get('score'))})" for each in shown]
    merged = [f"#{each}" for each in descent if len(parents[each]) > 1]
    also = f" Merged from several: {', '.join(merged)}." if merged else ""
    return element("p", f"{what} came down this line: ", element("strong", " → ".join(steps)), ".", also)


def _places(drawn: list[Any], parents: Parents) -> dict[Any, tuple[float, float]]:
    """Where each stands: a column for each generation, and those with children in the middle of these."""
    children: dict[Any, list[Any]] = {number: [] for number in drawn}
    roots = []
    for number in drawn:
        first = next((p for p in parents[number] if p in children), None)
        (roots if first is None else children[first]).append(number)
    places: dict[Any, tuple[float, float]] = {}
    lines = count()

    def place(number: Any, generation: int) -> float:
        below = [place(child, generation + 1) for child in children[number]]
        line = (below[0] + below[-1]) / 2 if below else float(next(lines))
        places[number] = (_MARGIN + generation * _ACROSS, _MARGIN + line * _DOWN)
        return line

    for root in roots:
        place(root, 0)
    return places


def _tree(
    drawn: list[Any],
    parents: Parents,
    by_number: Mapping[Any, Mapping[str, Any]],
    descent: set[Any],
    record: Mapping[str, Any],
) -> Html:
    places = _places(drawn, parents)
    width = round(max(x for x, _ in places.values()) + _MARGIN + 24)
    height = round(max(y for _, y in places.values()) + _MARGIN + 12)
    best = best_of(record)
    unit = unit_of(record)
    nodes = [_node(*places[each], by_number[each], unit, by_number[each] is best) for each in drawn]
    drawing = element(
        "svg",
        element("title", "Family tree of the candidates, the oldest on the left"),
        list(_edges(drawn, parents, places, descent)),
        nodes,
        role="img",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_="tree",
    )
    return element("div", drawing, class_="scroll", role="region", aria_label="Family tree", tabindex="0")


def _edges(
    drawn: list[Any], parents: Parents, places: Mapping[Any, tuple[float, float]], descent: set[Any]
) -> Iterator[Html]:
    for number in drawn:
        x, y = places[number]
        for rank, parent in enumerate(p for p in parents[number] if p in places):
            px, py = places[parent]
            middle = round((px + x) / 2, 1)
            kinds = ("edge", "second" if rank else "", "descent" if not rank and {number, parent} <= descent else "")
            path = f"M{px + _RADIUS} {py:g}C{middle} {py:g} {middle} {y:g} {x - _RADIUS} {y:g}"
            yield element("path", d=path, class_=" ".join(kind for kind in kinds if kind))


def _node(x: float, y: float, candidate: Mapping[str, Any], unit: wording.Unit, is_best: bool) -> Html:
    number, score = candidate.get("number"), unit.score(candidate.get("score"))
    kinds = [candidate.get("status") or "scored", candidate.get("kind") or "full", "best" if is_best else ""]
    title = element("title", f"#{number}: {score}, {kinds[1]}, {kinds[0]}{', the best' if is_best else ''}")
    return element(
        "g",
        title,
        element("circle", cx=f"{x:g}", cy=f"{y:g}", r=_RADIUS),
        element("text", number, x=f"{x:g}", y=f"{y + 4:g}", text_anchor="middle"),
        element("text", score, x=f"{x:g}", y=f"{y + _RADIUS + 13:g}", text_anchor="middle", class_="score"),
        class_=" ".join(["node", *(kind for kind in kinds if kind)]),
    )

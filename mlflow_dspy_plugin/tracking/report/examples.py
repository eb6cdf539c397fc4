"""Examples that changed side: what was asked, what was expected, and what each program answered."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_dspy_plugin.tracking.pairs import Pair, Pairs, pair_rows
from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.folding import fields, folded
from mlflow_dspy_plugin.tracking.report.markup import Html, element, join

# Of each side, the largest changes first; those after the first few are folded.
_MOST, _OPEN = 30, 8
_LIMITS = {"short": 240, "most": 2_500}


def examples(record: Mapping[str, Any]) -> Html:
    """The section of an optimization: from the program before to the best one."""
    name, title = "examples", "Examples won and lost"
    rows = record.get("rows") or {}
    before, best = rows.get("before") or [], rows.get("best") or []
    if not before or not best:
        which = (
            "neither the program before nor the best one" if not (before or best) else "only one of the two programs"
        )
        return layout.section(name, title, layout.remark(f"Nothing to compare: {which} has a full evaluation by rows."))
    return layout.section(name, title, sides(pair_rows(before, best), ("the program before", "the best program")))


def sides(pairs: Pairs, names: tuple[str, str]) -> Html:
    """How many changed side, and which."""
    groups = (
        ("won", f"Won: {names[1]} scores higher than {names[0]}", pairs.won),
        ("lost", f"Lost: {names[1]} scores lower than {names[0]}", pairs.lost),
    )
    return join(_shares(pairs), [_group(*group, names) for group in groups], _apart(pairs, names))


def _shares(pairs: Pairs) -> Html:
    parts = (("won", pairs.won, "good"), ("stayed the same", pairs.same, "plain"), ("lost", pairs.lost, "bad"))
    counts = [(name, len(each), kind) for name, each, kind in parts]
    return layout.shares(counts, [wording.number(count) for _, count, _ in counts])


def _group(kind: str, title: str, pairs: Sequence[Pair], names: tuple[str, str]) -> Html:
    heading = element("h3", title, " ", element("small", wording.number(len(pairs))))
    if not pairs:
        return join(heading, layout.remark("None."))
    largest = sorted(pairs, key=lambda pair: -abs(pair.change))[:_MOST]
    columns = ("Example", "Expected", *(name[:1].upper() + name[1:] for name in names))
    table = layout.table(title, columns, [_row(pair) for pair in largest[:_OPEN]])
    return join(
        heading, table, _folded(f"{title}, continued", columns, largest[_OPEN:]), _rest(len(pairs) - len(largest))
    )


def _folded(title: str, columns: Sequence[str], pairs: Sequence[Pair]) -> Html | None:
    if not pairs:
        return None
    table = layout.table(title, columns, [_row(pair) for pair in pairs])
    return element("details", element("summary", f"{wording.number(len(pairs))} more"), table, class_="more")


def _rest(count: int) -> Html | None:
    return layout.remark(f"{wording.number(count)} others are left out here.") if count else None


def _row(pair: Pair) -> Html:
    inputs, expected = (pair.b.get(key) or pair.a.get(key) for key in ("inputs", "expected"))
    return layout.row(
        fields(inputs, **_LIMITS),
        element("td", fields(expected, **_LIMITS)),
        element("td", _answer(pair.a, pair.score_a, "plain")),
        element("td", _answer(pair.b, pair.score_b, "good" if pair.change > 0 else "bad")),
        class_="example",
    )


def _answer(row: Mapping[str, Any], score: float | None, kind: str) -> Html:
    error, trace = row.get("error"), row.get("trace_id")
    return join(
        layout.badge(f"score {wording.mark(score)}", kind),
        element("p", element("strong", "failed: "), folded(error, **_LIMITS), class_="failure") if error else None,
        fields(row.get("prediction"), **_LIMITS) if row.get("prediction") or not error else None,
        element("small", f"trace {trace}", class_="trace") if trace else None,
    )


def _apart(pairs: Pairs, names: tuple[str, str]) -> Html | None:
    """What could not be compared."""
    told = (
        (len(pairs.unscored), "no score in one of the two", "have", "has"),
        (len(pairs.only_a), f"only given to {names[0]}", "were", "was"),
        (len(pairs.only_b), f"only given to {names[1]}", "were", "was"),
    )
    said = [f"{wording.counted(n, 'example')} {one if n == 1 else more} {what}" for n, what, more, one in told if n]
    return layout.remark(f"Not compared: {'; '.join(said)}.") if said else None

"""Money and time: what the task LM, the reflection LM and the metric took, apart."""

from collections.abc import Mapping
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.markup import Html, element
from mlflow_dspy_plugin.tracking.report.reading import ROLES, Spent, spent, spent_on

_COLUMNS = (
    "For",
    ("LM calls", "figure"),
    ("From the cache", "figure"),
    ("Input tokens", "figure"),
    ("Output tokens", "figure"),
    ("All tokens", "figure"),
    ("Cost", "figure"),
    ("Time in calls", "figure"),
)
_KINDS = {"task": "first", "reflection": "second", "metric": "third"}


def spending(record: Mapping[str, Any]) -> Html:
    """The section with a row for each role, and what each point of the score came at."""
    roles = {role: spent([use]) for role, use in (record.get("usage") or {}).items() if use}
    if not any(each.calls for each in roles.values()):
        note = layout.remark(f"No LM call was seen. It took {wording.duration(record.get('seconds'))}.")
        return layout.section("spending", "Money and time", note)
    whole = spent_on(record)
    rows = [_row(ROLES.get(role, role), each) for role, each in roles.items()]
    table = layout.table("What was spent on what", _COLUMNS, [*rows, _row("All", whole, class_="total")])
    return layout.section("spending", "Money and time", _shares(roles), table, _remarks(record, whole))


def _row(name: str, each: Spent, **attributes: Any) -> Html:
    counts = (each.calls, each.cached, each.input_tokens, each.output_tokens, each.total_tokens)
    figures = [*map(wording.number, counts), _cost(each), wording.duration(each.seconds)]
    return layout.row(name, *map(layout.figure, figures), **attributes)


def _cost(each: Spent) -> str:
    if each.cost is None:
        return wording.money(None) if each.calls else wording.UNKNOWN
    return wording.money(each.cost) if each.whole_cost else f"at least {wording.money(each.cost)}"


def _shares(roles: Mapping[str, Spent]) -> Html:
    """The bar shows money where all of it is known, else tokens."""
    used = {role: each for role, each in roles.items() if each.calls}
    by_cost = all(each.whole_cost for each in used.values()) and any(each.cost for each in used.values())
    sizes = {role: (each.cost or 0.0) if by_cost else each.total_tokens for role, each in used.items()}
    parts = [(ROLES.get(role, role), size, _KINDS.get(role, "plain")) for role, size in sizes.items()]
    shown = [wording.money(size) if by_cost else wording.counted(size, "token") for size in sizes.values()]
    return layout.shares(parts, shown)


def _remarks(record: Mapping[str, Any], whole: Spent) -> Html:
    before, best = record.get("baseline"), record.get("best_score")
    gain = 0 if before is None or best is None else best - before
    told = [
        f"The whole took {wording.duration(record.get('seconds'))}. ",
        "Calls at one time overlap, so the time in calls can be longer than the whole. "
        if _overlap(record, whole)
        else "",
        f"Each point gained cost {wording.money(whole.cost / gain)}. " if gain > 0 and whole.cost else "",
        "" if whole.whole_cost else f"The cost of {'all' if whole.cost is None else 'some'} calls is not known. ",
    ]
    return layout.remark(element("span", "".join(told).strip()))


def _overlap(record: Mapping[str, Any], whole: Spent) -> bool:
    return record.get("seconds") is not None and whole.seconds > record["seconds"]

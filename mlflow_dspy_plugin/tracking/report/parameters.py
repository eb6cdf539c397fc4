"""How it was set up: the optimizer's parameters and the data; and what the record had to leave out."""

from collections.abc import Mapping
from typing import Any

from mlflow_dspy_plugin.tracking.report import layout, wording
from mlflow_dspy_plugin.tracking.report.folding import folded
from mlflow_dspy_plugin.tracking.report.markup import Html, element, join

_MOST_LEFT_OUT = 100


def parameters(record: Mapping[str, Any]) -> Html:
    """The section with what it was asked to do."""
    values = {"program": record.get("program"), "metric": record.get("metric"), **(record.get("parameters") or {})}
    rows = [layout.row(name, folded(value)) for name, value in values.items()]
    table = layout.table("Parameters", ("Parameter", "Value"), rows)
    return layout.section("parameters", "How it was set up", _datasets(record.get("datasets") or {}), table)


def _datasets(datasets: Mapping[str, Mapping[str, Any]]) -> Html | None:
    known = {name: each for name, each in datasets.items() if each}
    if not known:
        return None
    rows = [
        layout.row(name, layout.figure(wording.number(each.get("rows"))), element("code", each.get("digest") or "–"))
        for name, each in known.items()
    ]
    return layout.table("Datasets", ("Dataset", ("Examples", "figure"), "Digest"), rows)


def left_out(record: Mapping[str, Any]) -> Html | None:
    """The section with what could not be written down; None where all could."""
    every = record.get("left_out") or []
    if not every:
        return None
    rest = len(every) - _MOST_LEFT_OUT
    items = [element("li", folded(each)) for each in every[:_MOST_LEFT_OUT]]
    more = layout.remark(f"{wording.number(rest)} more are in optimization.json.") if rest > 0 else None
    return layout.section("left-out", "Left out of the record", join(element("ul", items), more))

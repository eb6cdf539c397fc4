"""Values of any length as text: what is short is shown, what is long is folded, what is huge is cut and says so."""

import json
from collections.abc import Mapping
from typing import Any

from mlflow_dspy_plugin.tracking.report.markup import Html, element
from mlflow_dspy_plugin.tracking.report.wording import number

SHORT = 280
LONG = 4_000
_HEAD = 120


def as_text(value: Any) -> str:
    """A plain value as text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shortened(value: Any, most: int = _HEAD) -> str:
    """The beginning of a value, on one line."""
    line = " ".join(as_text(value)[: 4 * most].split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def cut(text: str, most: int) -> str:
    """At most so much of a text; where some is left out it says how much."""
    if len(text) <= most:
        return text
    return f"{text[:most]}…\n[{number(len(text) - most)} more characters are left out here]"


def folded(value: Any, short: int = SHORT, most: int = LONG) -> Html:
    """A value as text; a long one is behind its beginning."""
    text = as_text(value)
    if len(text) <= short and text.count("\n") < 8:
        return element("span", text, class_="text", dir="auto")
    return element(
        "details",
        element("summary", shortened(text), element("small", f" {number(len(text))} characters")),
        element("div", cut(text, most), class_="text whole", dir="auto"),
    )


def fields(values: Mapping[str, Any] | None, **limits: int) -> Html:
    """Named values, one below the other; a dash where there are none."""
    if not values:
        return element("span", "–", class_="none")
    if not isinstance(values, Mapping):
        return folded(values, **limits)
    named = [(element("dt", name), " ", element("dd", folded(value, **limits))) for name, value in values.items()]
    return element("dl", [element("div", each) for each in named], class_="fields")

"""The frame that every page has: the document, its sections, tables and figures."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mlflow_dspy_plugin.tracking.report.markup import Html, element, join

# Nothing runs and nothing is fetched, should a text ever get out of its place.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, *body: Any) -> str:
    """A whole HTML document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(_style())),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', element('main', *body)), lang='en')}\n"


@cache
def _style() -> str:
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")


def section(name: str, title: str, *content: Any) -> Html:
    """A part of a page, with its heading; `name` is where links lead to."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *content, id=name, aria_labelledby=f"{name}-title")


def contents(sections: Iterable[tuple[str, str]]) -> Html:
    """Links to the sections of a page, given as names and titles."""
    links = [element("li", element("a", title, href=f"#{name}")) for name, title in sections]
    return element("nav", element("ul", links), aria_label="Contents")


def table(caption: str, columns: Sequence[str | tuple[str, str]], rows: Iterable[Html]) -> Html:
    """A table that scrolls by itself where it is too wide.

    Args:
        caption: What it shows, said to those who do not see it.
        columns: Titles; a pair is a title and the class of its cells.
        rows: See `row`.
    """
    titled = [column if isinstance(column, tuple) else (column, None) for column in columns]
    heads = [element("th", title, scope="col", class_=class_) for title, class_ in titled]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", heads)),
        element("tbody", rows),
    )
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def row(head: Any, *cells: Any, **attributes: Any) -> Html:
    """A row of a table: what it is about, and its cells; one that is no cell yet becomes one."""
    return element("tr", element("th", head, scope="row"), [_cell(each) for each in cells], **attributes)


def figure(amount: Any, *beside: Any) -> Html:
    """A cell with a figure, and small print below it."""
    small = [(" ", element("small", each)) for each in beside if each]
    return element("td", amount, small, class_="figure")


def _cell(content: Any) -> Html:
    return content if isinstance(content, Html) and content.startswith("<td") else element("td", content)


def tile(name: str, amount: str, *, beside: str | None = None, kind: str | None = None) -> Html:
    """A figure that stands out, with its name."""
    small = (" ", element("span", beside, class_="beside")) if beside else None
    return element("div", element("dt", name), element("dd", amount, small), class_=f"tile {kind or ''}".rstrip())


def tiles(*each: Html) -> Html:
    """Figures that stand out, side by side."""
    return element("dl", each, class_="tiles")


def remark(*content: Any) -> Html:
    """A sentence that says how to read what is beside it."""
    return element("p", *content, class_="remark")


def badge(text: str, kind: str) -> Html:
    """A word that stands out in a colour of its kind: good, bad, warn, info or plain."""
    return element("span", text, class_=f"badge {kind}")


def shares(parts: Sequence[tuple[str, float, str]], shown: Sequence[str]) -> Html:
    """A bar that is divided as the parts are, with its legend.

    Args:
        parts: Name, size and kind of each.
        shown: What the legend says of each.
    """
    whole = sum(size for _, size, _ in parts) or 1
    # Growths that add up to less than one would leave a part of the bar empty.
    grown = [(kind, 1000 * size / whole) for _, size, kind in parts if size > 0]
    pieces = [element("span", class_=kind, style=f"flex-grow:{growth:.1f}") for kind, growth in grown]
    legend = [
        element("li", element("span", class_=f"swatch {kind}"), element("strong", text), f" {name}")
        for (name, _, kind), text in zip(parts, shown, strict=True)
    ]
    return join(element("div", pieces, class_="shares", aria_hidden="true"), element("ul", legend, class_="legend"))

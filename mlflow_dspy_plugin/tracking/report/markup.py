"""HTML that is safe by construction: a value that is no `Html` is text, and is escaped."""

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any

_VOID = {"br", "meta"}
# Control characters, which HTML forbids, halves of characters, which no encoding can write, and those that turn the
# direction of all that follows.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(value: Any) -> Html:
    """A value as text that means nothing to a browser, between tags and in attributes."""
    return Html(html.escape(_UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))))


def join(*parts: Any) -> Html:
    """Parts one after the other: `Html` as it is, other values escaped, iterables part by part, None as nothing."""
    return Html("".join(_flat(parts)))


def element(tag: str, /, *children: Any, **attributes: Any) -> Html:
    """An element with its children, which are joined.

    Args:
        tag: Its name.
        children: See `join`.
        attributes: `class_` is class, `aria_label` is aria-label; None and False leave one out, True needs no value.
    """
    opening = f"<{tag}{''.join(_attributes(attributes))}>"
    return Html(opening if tag in _VOID else f"{opening}{join(*children)}</{tag}>")


def _flat(parts: Iterable[Any]) -> Iterator[str]:
    for part in parts:
        if isinstance(part, str) or not isinstance(part, Iterable):
            if part is not None:
                yield part if isinstance(part, Html) else escaped(part)
        else:
            yield from _flat(part)


def _attributes(attributes: dict[str, Any]) -> Iterator[str]:
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        written = name.rstrip("_").replace("_", "-")
        yield f" {written}" if value is True else f' {written}="{escaped(value)}"'

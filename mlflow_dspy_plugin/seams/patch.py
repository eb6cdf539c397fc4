"""Replacing an attribute of somebody else's class or module, and putting it back."""

import functools
from collections.abc import Callable
from typing import Any


def patch(owner: Any, name: str, make: Callable[[Callable], Callable]) -> Callable[[], None]:
    """Replace `owner.name` by what `make` builds around it; returns the undo.

    Where somebody else has replaced it since, the undo leaves both in place.
    """
    original = getattr(owner, name)
    replacement = functools.wraps(original)(make(original))
    setattr(owner, name, replacement)

    def undo() -> None:
        if getattr(owner, name) is replacement:
            setattr(owner, name, original)

    return undo

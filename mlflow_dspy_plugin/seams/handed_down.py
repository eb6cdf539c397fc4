"""Values that the code called from here inherits, in threads too while `carry_into_threads` carries them."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class HandedDown:
    """What one `hand_down` has set; nothing once it was taken back."""

    values: Mapping[str, Any]


HANDED_DOWN: ContextVar[tuple[HandedDown, ...]] = ContextVar("mlflow_dspy_plugin_handed_down", default=())


def hand_down(**values: Any) -> HandedDown:
    """Set values that the code called from here inherits; `take_back` ends it."""
    handed = HandedDown(values)
    HANDED_DOWN.set((*HANDED_DOWN.get(), handed))
    return handed


def take_back(handed: HandedDown) -> None:
    """Undo one `hand_down`, in whatever order several end.

    It ends in every context and thread that has inherited it: a thread that was started in a
    compile may outlive it, and a call that was cancelled may end in another context.
    """
    handed.values = {}
    HANDED_DOWN.set(tuple(other for other in HANDED_DOWN.get() if other.values))


def inherited(name: str) -> Any:
    """A value that was handed down to this code."""
    return next((handed.values[name] for handed in reversed(HANDED_DOWN.get()) if name in handed.values), None)

"""What is kept of objects as long as they live, by which one they are: those of the user's need not be hashable."""

import weakref
from typing import Any, Generic, TypeVar

_Kept = TypeVar("_Kept")


class _Reference(weakref.ref):
    """An object as long as it lives, and what is kept of it."""

    __slots__ = ("key", "kept")


class ByIdentity(Generic[_Kept]):
    """Values by object, which the objects do not know of."""

    def __init__(self) -> None:
        self._references: dict[int, _Reference] = {}

    def set(self, holder: Any, kept: _Kept) -> None:
        """Keep a value of an object."""
        reference = _Reference(holder, self._forget)
        reference.key, reference.kept = id(holder), kept
        self._references[reference.key] = reference

    def get(self, holder: Any) -> _Kept | None:
        """What is kept of an object."""
        reference = self._references.get(id(holder))
        return reference.kept if reference is not None and reference() is holder else None

    def _forget(self, reference: _Reference) -> None:
        if self._references.get(reference.key) is reference:
            del self._references[reference.key]

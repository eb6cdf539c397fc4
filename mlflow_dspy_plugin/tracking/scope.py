"""On which examples candidates are scored: on all that count, on the training set, or on a part of them."""

import operator
import threading
from collections.abc import Sequence
from typing import Any

from mlflow_dspy_plugin.tracking import datasets
from mlflow_dspy_plugin.tracking.record import FULL, MINIBATCH, TRAIN, Candidate, Record


class Scope:
    """What the evaluations of one optimization were done on. Threads may share it.

    Args:
        record: Has the sets of examples that the optimizer was given.
    """

    def __init__(self, record: Record) -> None:
        self._record, self._lock = record, threading.Lock()
        self._most_rows, self._is_known = 0, False
        # On all examples, as long as none is scored on more, or on those that count.
        self._presumed: list[Candidate] = []
        self._rows, self._digest = [], ""

    def of(self, devset: Any) -> str | None:
        """The kind of a score on these examples, as far as the sets tell.

        `FULL` for the validation set, or where there is none the training set, which is else `TRAIN`; None for others.
        """
        sets = self._record.datasets
        sizes = {told["rows"] for told in sets.values()}
        if devset is None or len(devset) not in sizes:
            return None
        digest = self._digest_of(list(devset))
        found = [name for name, told in sets.items() if told["digest"] == digest]
        if not found:
            return None
        return FULL if "valset" in found or "valset" not in sets else TRAIN

    def _digest_of(self, rows: Sequence[Any]) -> str:
        """The digest of examples, which are mostly those of the evaluation before."""
        with self._lock:
            known = len(rows) == len(self._rows) and all(map(operator.is_, rows, self._rows))
            if not known:
                self._rows, self._digest = rows, datasets.input_of(rows, "")["digest"]
            return self._digest

    def add(self, candidate: dict[str, Any], scope: str | None, size: int, is_part: bool) -> Candidate:
        """Note a candidate with the kind of its score; one on fewer examples before it is then no match for it.

        Args:
            candidate: As for `Record.add`.
            scope: What `of` said of the examples.
            size: How many they are.
            is_part: Whether the optimizer calls them a part.
        """
        with self._lock:
            is_less = size < self._most_rows or (self._is_known and size == self._most_rows)
            kind = scope or (MINIBATCH if is_part or is_less else FULL)
            if kind == FULL:
                self._outgrow(size, scope is not None)
            made = self._record.add({**candidate, "kind": kind})
            if kind == FULL and scope is None:
                self._presumed.append(made)
            return made

    def _outgrow(self, size: int, is_known: bool) -> None:
        """What was scored on fewer examples, or on as many others, was scored on a part."""
        if size > self._most_rows or (is_known and size == self._most_rows):
            while self._presumed:
                self._record.set_kind(self._presumed.pop(), MINIBATCH)
        self._most_rows, self._is_known = max(self._most_rows, size), self._is_known or is_known

"""The record of one optimization: all that is known of it, in memory, as plain JSON."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow_dspy_plugin.metering import Meter
from mlflow_dspy_plugin.tracking.plain_values import plain, text
from mlflow_dspy_plugin.tracking.programs_seen import digest_of, picture_of

FORMAT = 1
# Evaluations whose `kind` says how far their score is to be trusted.
FULL, MINIBATCH, TRAIN = "full", "minibatch", "train"
# A score is no match for one on examples that count more.
_RANKS = {MINIBATCH: 0, TRAIN: 1, FULL: 2}
# Of what an optimizer alone can tell, the newest are kept.
_MOST_NOTES = 5_000
_MOST_LEFT_OUT = 100


@dataclass
class Candidate:
    """A program that was scored.

    Attributes:
        number: Its place in order of time.
        at: When it was scored, in seconds since the start.
        program: The digest of the program.
        kind: `FULL`, `MINIBATCH` or `TRAIN`.
        seconds: How long scoring it took; None, as its usage, where nobody can tell it from that of others.
        score: As DSPy gives it, in percent mostly; None where there is none.
        run: Its run, where it has one.
        same_as: The number of the candidate that it is another score of.
    """

    number: int
    at: float
    seconds: float | None
    program: str | None
    kind: str
    score: float | None
    rows: int = 0
    failures: int = 0
    parents: list[int] = field(default_factory=list)
    status: str = "scored"
    why: str | None = None
    usage: dict[str, Any] | None = None
    run: Any = None
    is_best_so_far: bool = False
    same_as: int | None = None

    def as_plain(self) -> dict[str, Any]:
        """As in the record."""
        told = {name: value for name, value in vars(self).items() if name != "run"}
        return {**told, "step": self.number, "run_id": self.run.reference if self.run is not None else None}


class Record:
    """What is known of one optimization. Threads may share it.

    Args:
        optimizer: What it is called.
        parameters: What it was made and called with.
        program: The program before.
        metric: The name of the metric.
    """

    def __init__(self, optimizer: str, parameters: Mapping[str, Any], program: Any, metric: str | None) -> None:
        self._lock = threading.RLock()
        self.optimizer, self.parameters, self.metric = optimizer, plain(parameters), metric
        self.program = type(program).__name__ if program is not None else None
        self.meter = Meter()
        self.started, self._clock = time.time(), time.monotonic()
        self.status, self.error = "RUNNING", None
        # As DSPy gives scores; those of a search by hand are whatever it calls them.
        self.percent = True
        self.seconds: float | None = None
        self.datasets: dict[str, Any] = {}
        self.candidates: list[Candidate] = []
        self.programs: dict[str, Any] = {}
        self.notes: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self.before, self.returned = self.see(program), None
        self._best: Candidate | None = None
        # Rows of the program before and of the best, with the candidate that they are of.
        self._rows: dict[str, tuple[Candidate, list[Any]]] = {}
        # What the optimizer calls its candidates, and what was noted of those that are still to be scored.
        self._keys: dict[Any, int] = {}
        self._parents: dict[Any, list[Any]] = {}
        self._waiting: dict[Any, list[dict[str, Any]]] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._clock

    @property
    def best(self) -> Candidate | None:
        """The best candidate so far: one that was scored on all rows, if there is one."""
        return self._best

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that was returned; the best where nothing was returned, and None where that was not scored."""
        if self._best is None or self.returned in (None, self._best.program):
            return self._best
        return self.last_of(self.returned)

    @property
    def baseline(self) -> float | None:
        """The score of the program before, on the same examples as the best; None where it was not scored on them."""
        with self._lock:
            if self._best is None or self._best.kind == MINIBATCH:
                return None
            own = (each for each in self.candidates if self._is_before(each) and each.kind == self._best.kind)
            return next((each.score for each in own if each.score is not None), None)

    def _is_before(self, candidate: Candidate) -> bool:
        return candidate.program is not None and candidate.program == self.before

    def see(self, program: Any) -> str | None:
        """The digest of a program, which is kept."""
        picture = picture_of(program)
        if picture is None:
            return None
        digest = digest_of(picture)
        with self._lock:
            self.programs.setdefault(digest, picture)
        return digest

    def see_changed(self, instructions: Mapping[str, str] | None) -> str | None:
        """The digest of the program before with other instructions; a candidate with them that was seen comes first."""
        with self._lock:
            for digest, picture in reversed(self.programs.items()):
                if instructions and _instructions(picture).items() >= dict(instructions).items():
                    return digest
            before = self.programs.get(self.before)
        if before is None or not instructions:
            return None
        changed = {
            name: {**each, "instructions": text(instructions.get(name, each["instructions"]))}
            for name, each in before["predictors"].items()
        }
        picture = {**before, "predictors": changed}
        digest = digest_of(picture)
        with self._lock:
            self.programs.setdefault(digest, picture)
        return digest

    def add(self, candidate: Mapping[str, Any], key: Any = None) -> Candidate:
        """Note a program that was scored; `candidate` has the fields of `Candidate` that are known."""
        with self._lock:
            made = Candidate(number=len(self.candidates), at=self.elapsed, **candidate)
            self.candidates.append(made)
            if key is not None:
                self.name(key, made)
            self._judge(made)
            return made

    def set_kind(self, candidate: Candidate, kind: str) -> None:
        """Correct on what a candidate was scored, and with it which one is the best."""
        with self._lock:
            if candidate.kind == kind:
                return
            candidate.kind, self._best = kind, None
            for each in self.candidates:
                each.is_best_so_far = False
                self._judge(each)

    def _judge(self, candidate: Candidate) -> None:
        if candidate.score is None:
            return
        best = self._best
        if best is None or (_RANKS[candidate.kind], candidate.score) > (_RANKS[best.kind], best.score):
            self._best, candidate.is_best_so_far = candidate, True

    def offer_rows(self, candidate: Candidate, rows: Callable[[], list[Any]]) -> None:
        """Keep the rows of a candidate that is the program before, or the best so far; only then are they asked for."""
        with self._lock:
            wanted = ["best"] if candidate is self._best else []
            kept, _ = self._rows.get("before", (None, []))
            if self._is_before(candidate) and (kept is None or _RANKS[kept.kind] < _RANKS[candidate.kind]):
                wanted.append("before")
        if candidate.kind != MINIBATCH and wanted and (made := rows()):
            with self._lock:
                self._rows.update(dict.fromkeys(wanted, (candidate, made)))

    @property
    def rows(self) -> dict[str, list[Any]]:
        """Rows of the program before and of the best, for examples won and lost."""
        with self._lock:
            told: dict[str, list[Any]] = {"before": [], "best": []}
            for which, (candidate, rows) in self._rows.items():
                # What they are of may have turned out to be scored on a part, and another to be the best.
                if candidate.kind != MINIBATCH and (which == "before" or candidate is self._best):
                    told[which] = rows
            return told

    def name(self, key: Any, candidate: Candidate) -> None:
        """Note what the optimizer calls a candidate; of several scores of one, the first on all rows stands for it."""
        with self._lock:
            known = self.known_as(key)
            if known is None or _RANKS[known.kind] < _RANKS[candidate.kind]:
                self._keys[key] = candidate.number
                for each in self.candidates if known is not None else ():
                    if known.number in (each.number, each.same_as):
                        each.same_as = candidate.number
            elif known is not candidate:
                candidate.same_as = known.number
            for told in self._waiting.pop(key, ()):
                told["candidate"] = candidate.number

    def known_as(self, key: Any) -> Candidate | None:
        """The candidate that the optimizer calls so."""
        with self._lock:
            number = self._keys.get(key)
            return self.candidates[number] if number is not None else None

    def numbers_of(self, keys: Sequence[Any]) -> list[int]:
        """The numbers of candidates by what the optimizer calls them."""
        with self._lock:
            return [self._keys[key] for key in keys if key in self._keys]

    def parents_of(self, key: Any, told: Sequence[Any] | None) -> list[int]:
        """The numbers of the candidates that one was made from, where that is told now or was before."""
        with self._lock:
            if told is not None and key is not None:
                self._parents[key] = list(told)
            return self.numbers_of(self._parents.get(key, []) if told is None else told)

    def last_of(self, program: str | None, rows: int | None = None) -> Candidate | None:
        """The newest candidate that is this program, scored on so many rows."""
        with self._lock:
            found = (each for each in reversed(self.candidates) if each.program == program)
            return next((each for each in found if rows in (None, each.rows)), None)

    def runs(self) -> list[Any]:
        """The runs of the candidates that have one of their own."""
        with self._lock:
            return [each.run for each in self.candidates if each.run is not None]

    def note(self, kind: str, facts: Mapping[str, Any], key: Any = None) -> None:
        """Keep what the optimizer alone can tell; `key` is what it calls the candidate that this concerns."""
        told = {"at": round(self.elapsed, 3), "kind": kind, **{name: plain(fact) for name, fact in facts.items()}}
        with self._lock:
            self.notes.append(told)
            if (known := self.known_as(key)) is not None:
                told["candidate"] = known.number
            elif key is not None:
                self._waiting.setdefault(key, []).append(told)
            if len(self.notes) > _MOST_NOTES:
                del self.notes[: _MOST_NOTES // 10]

    def leave_out(self, what: str) -> None:
        """Note what the record does not hold, and why."""
        with self._lock:
            if what not in self.left_out and len(self.left_out) < _MOST_LEFT_OUT:
                self.left_out.append(what)

    def end(self, status: str, error: str | None) -> None:
        """The optimization has ended."""
        self.status, self.error, self.seconds = status, error, self.elapsed

    def as_plain(self) -> dict[str, Any]:
        """All of it, as in `optimization.json`."""
        with self._lock:
            best = self._best
            return {
                "format": FORMAT,
                "optimizer": self.optimizer,
                "parameters": self.parameters,
                "program": self.program,
                "metric": self.metric,
                "status": self.status,
                "error": self.error,
                "started": self.started,
                "seconds": round(self.seconds if self.seconds is not None else self.elapsed, 3),
                "datasets": self.datasets,
                "baseline": self.baseline,
                "best": best.number if best is not None else None,
                "best_score": best.score if best is not None else None,
                "percent": self.percent,
                "before": self.before,
                "returned": self.returned,
                "usage": self.meter.as_plain(),
                "candidates": [each.as_plain() for each in self.candidates],
                "programs": self.programs,
                "notes": list(self.notes),
                "rows": self.rows,
                "left_out": list(self.left_out),
            }


def _instructions(picture: Mapping[str, Any]) -> dict[str, str]:
    return {name: each["instructions"] for name, each in picture["predictors"].items()}

"""What some optimizers alone can tell -> their record: lineage, reasons, proposals, scores that DSPy does not see."""

from collections.abc import Callable, Mapping
from typing import Any

from mlflow_dspy_plugin.metering import Spending
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams.gepa import watch_gepa
from mlflow_dspy_plugin.seams.mipro import watch_mipro
from mlflow_dspy_plugin.seams.reanchor import watch_reanchor
from mlflow_dspy_plugin.seams.simba import watch_simba
from mlflow_dspy_plugin.tracking.compile import OPTIMIZATION
from mlflow_dspy_plugin.tracking.optimization import Optimization
from mlflow_dspy_plugin.tracking.plain_values import number, text

_SOURCES = (watch_gepa, watch_mipro, watch_reanchor, watch_simba)
# Facts that are the optimizer's own names of candidates.
_KEYS = ("key", "parents", "front")
# A note has a kind of its own.
_NAMES = {"kind": "scored_on"}


def watch_optimizers() -> Callable[[], None]:
    """Have what optimizers tell noted in the record of the compile that they tell it in; returns the undo."""
    undo = [watch(hear) for watch in _SOURCES]

    def stop() -> None:
        while undo:
            undo.pop()()

    return stop


def hear(kind: str, /, **facts: Any) -> None:
    """Note what an optimizer tells; see the seams for what that may be."""
    optimization = handed_down.inherited(OPTIMIZATION)
    if optimization is not None:
        _HANDLERS.get(kind, _note)(optimization, kind, facts)


def _note(optimization: Optimization, kind: str, facts: Mapping[str, Any]) -> None:
    record = optimization.record
    told = {_NAMES.get(name, name): fact for name, fact in facts.items() if name not in _KEYS}
    for name in ("parents", "front"):
        if facts.get(name) is not None:
            told[name] = record.numbers_of(list(facts[name]))
    record.note(kind, told, key=facts.get("key"))


def _trial(optimization: Optimization, kind: str, facts: Mapping[str, Any]) -> None:
    # It is told before the evaluation that scores it, which is the next one.
    _note(optimization, kind, {**facts, "candidate": len(optimization.record.candidates)})


def _scoring(optimization: Optimization, kind: str, facts: Mapping[str, Any]) -> None:
    optimization.scoring.append(Spending(optimization.record.meter))


def _scored(optimization: Optimization, kind: str, facts: Mapping[str, Any]) -> None:
    record, key = optimization.record, facts.get("key")
    # What several take at one time cannot be told apart.
    begun, optimization.scoring = optimization.scoring, []
    spent = begun[0].until_now() if len(begun) == 1 else {}
    scores = [score for score in map(number, facts["scores"]) if score is not None]
    parents = record.parents_of(key, facts.get("parents"))
    digest = record.see_changed(facts.get("instructions")) if facts.get("program") is None else None
    known = record.last_of(digest, len(facts["scores"])) if facts.get("logged") and digest is not None else None
    if known is None:
        known = optimization.add_candidate(
            facts.get("program"),
            **({"program": digest} if digest is not None else {}),
            kind=facts["kind"],
            score=100 * sum(scores) / len(scores) if scores else None,
            rows=len(facts["scores"]),
            parents=parents,
            results=facts.get("results"),
            percent=True,
            **spent,
        )
    known.parents = parents or known.parents
    record.set_kind(known, facts["kind"])
    if key is not None:
        record.name(key, known)


def _accepted(optimization: Optimization, kind: str, facts: Mapping[str, Any]) -> None:
    candidate = optimization.record.known_as(facts.get("key"))
    if candidate is not None:
        candidate.status = "accepted"
        candidate.parents = optimization.record.numbers_of(list(facts.get("parents") or ())) or candidate.parents


def _rejected(optimization: Optimization, kind: str, facts: Mapping[str, Any]) -> None:
    candidate = optimization.record.known_as(facts.get("key"))
    if candidate is None:
        _note(optimization, kind, facts)
        return
    candidate.status, candidate.why = "rejected", _reason(facts)


def _reason(facts: Mapping[str, Any]) -> str | None:
    told = [text(facts["reason"])] if facts.get("reason") else []
    scores = [facts.get("new_score"), facts.get("old_score")]
    # Most reasons name them.
    if None not in scores and not (told and all(str(score) in told[0] for score in scores)):
        told.append("{:g} on its minibatch, its parent {:g}".format(*scores))
    return "; ".join(told) or None


_Handler = Callable[[Optimization, str, Mapping[str, Any]], None]
_HANDLERS: dict[str, _Handler] = {
    "candidate_scored": _scored,
    "candidate_accepted": _accepted,
    "candidate_rejected": _rejected,
    "scoring": _scoring,
    "trial": _trial,
}

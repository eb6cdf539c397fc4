"""What `dspy.GEPA` alone knows while it compiles: lineage, reasons, reflections, merges, Pareto front, budget.

It is told in the thread and context of the compile. gepa numbers the candidates that it keeps; the keys here number
all that were scored, the rejected too. Texts are of components: the instructions of each predictor, the source of
each `dspy.Flex`.

scoring()
    Before a minibatch is scored; what follows next on it is its score, unless several are scored at once.
candidate_scored(program=None, instructions, scores, kind, parents, key, logged)
    Each time a candidate is scored: "full" on the validation set, "minibatch" on some rows of the training set (a
    parent to be reflected on, then its child) or of the validation set (a merge). A key that was told before is a
    candidate that is scored again. The first one, without parents, is the program as it was. `scores` are of rows.
candidate_accepted(key, parents, score)
    `score` is the average on the validation set.
candidate_rejected(key, reason, old_score, new_score)
    The scores are sums over the minibatch, of the parent and of the child; a merge has no `old_score`.
reflection(components, prompts, proposals)
    `prompts` holds for each component what its reflection was shown: a prompt, or the examples with feedback.
merge(accepted, parents, reason)
pareto(front)
budget(used, left)
    Calls of the metric; `left` is None where nothing limits them.
error(exception)

Evaluations. DSPy's adapter runs each of these scorings through one `dspy.Evaluate`, before it is told here. The
callback metadata of that call is {"disable_logging": True} where there are at most `reflection_minibatch_size` rows,
else {"metric_key": "eval_full"}, also for the five rows of a merge, and no metadata at all before dspy 3.1 or so.
`logged` says whether logging was left on, so that who records such calls has this one. (With gepa's cache of
evaluations a call has only the rows that are new, or is left out; so is that of a `dspy.Flex` that does not bind.)

Where gepa has no callbacks (0.0.7), its result tells at the end: `candidate_scored` ("full", key and parents as in the
result) and `candidate_accepted` of each candidate that it has kept, `pareto` and `budget`. No rejection is known.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams.patch import patch


def watch_gepa(tell: Callable[..., None]) -> Callable[[], None]:
    """Call `tell(kind, **facts)` for what every `dspy.GEPA` finds out; returns the undo."""
    try:
        import gepa
        from dspy.teleprompt.gepa.gepa_utils import DspyAdapter
    except ImportError:
        # No release of DSPy needs gepa for anything else, and not every Python can have it.
        return lambda: None
    return patch(gepa, "optimize", functools.partial(_watching, tell, DspyAdapter))


def _watching(tell: Callable[..., None], adapter_type: type, original: Callable) -> Callable:
    """`gepa.optimize`, which DSPy imports at each compile; calls that are not DSPy's are left alone."""
    has_callbacks = "callbacks" in inspect.signature(original).parameters

    def optimize(*args, **kwargs):
        adapter = kwargs.get("adapter")
        if not isinstance(adapter, adapter_type):
            return original(*args, **kwargs)
        if has_callbacks:
            callbacks = _Callbacks(kwargs.get("callbacks"), _Observer(tell, adapter))
            try:
                return original(*args, **{**kwargs, "callbacks": callbacks})
            finally:
                callbacks.end()
        result = original(*args, **kwargs)
        _tell_result(tell, result, adapter, kwargs.get("max_metric_calls"))
        return result

    return optimize


def _is_logged(adapter: Any, rows: int) -> bool:
    """Whether the adapter evaluates so many rows with logging left on."""
    limit = getattr(adapter, "reflection_minibatch_size", None)
    return limit is None or rows > limit


@never_raises
def _tell_result(tell: Callable[..., None], result: Any, adapter: Any, limit: int | None) -> None:
    for key, (texts, parents) in enumerate(zip(result.candidates, result.parents, strict=True)):
        parents = [parent for parent in parents if parent is not None]
        scores = _values(result.val_subscores[key])
        facts = {"program": None, "instructions": dict(texts), "scores": scores, "kind": "full"}
        tell("candidate_scored", **facts, parents=parents, key=key, logged=_is_logged(adapter, len(scores)))
        if parents:
            tell("candidate_accepted", key=key, parents=parents, score=result.val_aggregate_scores[key])
    fronts = _values(result.per_val_instance_best_candidates)
    tell("pareto", front=sorted(set().union(*fronts)))
    used = result.total_metric_calls
    tell("budget", used=used, left=None if limit is None or used is None else max(0, limit - used))


def _values(rows: Any) -> list[Any]:
    """Of each row, whether gepa has them in order or under their ids."""
    return list(rows.values() if isinstance(rows, dict) else rows)


class _Callbacks:
    """The user's callbacks, whatever they are at each event, and the observer after them until it ends."""

    def __init__(self, theirs: Iterable[Any] | None, observer: "_Observer"):
        self._theirs = () if theirs is None else theirs
        self._ours = [observer]

    def __iter__(self) -> Iterator[Any]:
        yield from self._theirs
        yield from self._ours

    def end(self) -> None:
        self._ours.clear()


@dataclass(frozen=True)
class _Candidate:
    key: int
    texts: dict[str, str]
    parents: list[int]
    total: float | None = None  # on its first minibatch


class _Observer:
    """Hears gepa's events of one compile."""

    def __init__(self, tell: Callable[..., None], adapter: Any):
        self._tell = tell
        self._adapter = adapter
        self._keys = itertools.count()
        # By gepa's own numbers, which are 0, 1, 2 and so on.
        self._kept: list[_Candidate] = []
        self._averages: dict[int, float] = {}
        self._front: list[int] = []
        self._forget_iteration()

    def _forget_iteration(self) -> None:
        self._shown: list[dict[str, Any]] = []
        self._proposals: list[dict[str, str]] = []
        self._children: list[_Candidate] = []
        self._rejections: list[dict[str, Any]] = []
        self._merge_scores: list[float] | None = None

    # -- candidates ---------------------------------------------------------------------------

    @never_raises
    def on_iteration_start(self, event: dict[str, Any]) -> None:
        # A compile that was taken up again from its `log_dir` has candidates that no event tells of.
        state = event["state"]
        for number in range(len(self._kept), len(state.program_candidates)):
            parents = [each for each in state.parent_program_for_candidate[number] if each is not None]
            self._kept.append(self._candidate(state.program_candidates[number], parents))

    @never_raises
    def on_evaluation_start(self, event: dict[str, Any]) -> None:
        self._tell("scoring")

    @never_raises
    def on_evaluation_end(self, event: dict[str, Any]) -> None:
        number, scores = event["candidate_idx"], event["scores"]
        if number is not None:
            self._tell_scored(self._kept[number], scores)
        elif self._proposals:
            parents = event["parent_ids"]
            texts = {**self._kept[parents[0]].texts, **self._proposals.pop(0)}
            self._tell_child(texts, parents, scores)
        else:
            # A merge, whose texts the next event tells.
            self._merge_scores = scores

    @never_raises
    def on_valset_evaluated(self, event: dict[str, Any]) -> None:
        number, texts = event["candidate_idx"], event["candidate"]
        if number == len(self._kept):
            child = next((each for each in self._children if each.texts == texts), None)
            if child is not None:
                self._children.remove(child)
            self._kept.append(child or self._candidate(texts, event["parent_ids"]))
        self._averages[number] = event["average_score"]
        front, self._front = self._front, []
        is_full = event["num_examples_evaluated"] == event["total_valset_size"]
        scores = list(event["scores_by_val_id"].values())
        self._tell_scored(self._kept[number], scores, "full" if is_full else "minibatch")
        if front:
            self._tell("pareto", front=self._keys_of(front))

    @never_raises
    def on_pareto_front_updated(self, event: dict[str, Any]) -> None:
        # The candidate that has changed it is told of by the next event.
        self._front = list(event["new_front"])

    @never_raises
    def on_candidate_accepted(self, event: dict[str, Any]) -> None:
        number = event["new_candidate_idx"]
        accepted = self._kept[number]
        score = self._averages.pop(number, None)
        self._tell("candidate_accepted", key=accepted.key, parents=accepted.parents, score=score)

    @never_raises
    def on_candidate_rejected(self, event: dict[str, Any]) -> None:
        self._rejections.append(event)
        # Of several children, those that are kept have to be known first.
        if len(self._children) <= 1:
            self._tell_rejections()

    @never_raises
    def on_iteration_end(self, event: dict[str, Any]) -> None:
        try:
            self._tell_rejections()
        finally:
            self._forget_iteration()

    def _tell_rejections(self) -> None:
        rejections, self._rejections = self._rejections, []
        for event in rejections:
            # gepa rejects in the order in which it has scored.
            child = next((each for each in self._children if each.total == event["new_score"]), None)
            if child is not None:
                self._children.remove(child)
            facts = {name: event[name] for name in ("reason", "old_score", "new_score")}
            self._tell("candidate_rejected", key=child and child.key, **facts)

    def _tell_child(self, texts: dict[str, str], parents: list[int], scores: list[float]) -> None:
        child = self._candidate(texts, parents, sum(scores))
        self._children.append(child)
        self._tell_scored(child, scores)

    def _tell_scored(self, candidate: _Candidate, scores: list[float], kind: str = "minibatch") -> None:
        self._tell(
            "candidate_scored",
            program=None,
            instructions=dict(candidate.texts),
            scores=list(scores),
            kind=kind,
            parents=candidate.parents,
            key=candidate.key,
            logged=_is_logged(self._adapter, len(scores)),
        )

    def _candidate(self, texts: dict[str, str], parents: Iterable[int], total: float | None = None) -> _Candidate:
        return _Candidate(next(self._keys), dict(texts), self._keys_of(parents), total)

    def _keys_of(self, numbers: Iterable[int]) -> list[int]:
        return [self._kept[number].key for number in numbers]

    # -- how they come about ------------------------------------------------------------------

    @never_raises
    def on_proposal_start(self, event: dict[str, Any]) -> None:
        self._shown.append(event["reflective_dataset"])

    @never_raises
    def on_proposal_end(self, event: dict[str, Any]) -> None:
        texts = dict(event["new_instructions"])
        self._proposals.append(texts)
        # DSPy's adapter keeps its prompts to itself. Of several reflections, nothing says which was shown what.
        shown = self._shown[0] if len(self._shown) == 1 else {}
        self._tell("reflection", components=list(texts), prompts=event.get("prompts") or shown, proposals=texts)

    @never_raises
    def on_merge_attempted(self, event: dict[str, Any]) -> None:
        if self._merge_scores is not None:
            self._tell_child(event["merged_candidate"], event["parent_ids"], self._merge_scores)

    @never_raises
    def on_merge_accepted(self, event: dict[str, Any]) -> None:
        self._tell("merge", accepted=True, parents=self._keys_of(event["parent_ids"]), reason=None)

    @never_raises
    def on_merge_rejected(self, event: dict[str, Any]) -> None:
        merged, reason = self._children.pop() if self._children else None, event["reason"]
        self._tell("merge", accepted=False, parents=self._keys_of(event["parent_ids"]), reason=reason)
        if merged is not None:
            scores = {"old_score": None, "new_score": merged.total}
            self._tell("candidate_rejected", key=merged.key, reason=reason, **scores)

    # -- the compile --------------------------------------------------------------------------

    @never_raises
    def on_budget_updated(self, event: dict[str, Any]) -> None:
        self._tell("budget", used=event["metric_calls_used"], left=event["metric_calls_remaining"])

    @never_raises
    def on_error(self, event: dict[str, Any]) -> None:
        self._tell("error", exception=event["exception"])

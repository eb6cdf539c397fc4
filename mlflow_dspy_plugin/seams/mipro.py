"""What `dspy.MIPROv2` alone knows while it compiles: what it proposes, and what each trial has chosen of it.

It is told in the thread and context of the compile, by the names of the predictors.

demo_sets(predictor, sets)
    Once the sets of demos are bootstrapped; each is a list of demos. An optimizer that is to add no demos shows them
    to the proposer of instructions only.
proposal(predictor, instructions)
    Once the instructions are proposed; the first are those of the program as it was.
trial(number, chosen, kind)
    Before the `dspy.Evaluate` that scores it, which is the next one. `chosen` has for each predictor the places of
    its "instruction" and "demos" in what was told before, and is empty for the program as it was. `kind` is "full"
    or "minibatch": the metadata of the evaluation are {"metric_key": "eval_full"} or {"metric_key": "eval_minibatch"}.
    With minibatches, the best choice so far has from time to time a full trial of its own. The numbers are those of
    the optimizer's `trial_logs`.
"""

import contextvars
import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams.patch import patch

_MODULE = "dspy.teleprompt.mipro_optimizer_v2"
_PARTS = ("instruction", "demos")


def watch_mipro(tell: Callable[..., None]) -> Callable[[], None]:
    """Call `tell(kind, **facts)` for what every `dspy.MIPROv2` finds out; returns the undo."""
    module = importlib.import_module(_MODULE)
    watched: list[tuple[Any, str, Callable]] = [
        (module.MIPROv2, "_bootstrap_fewshot_examples", functools.partial(_telling_demo_sets, tell)),
        (module.MIPROv2, "_propose_instructions", functools.partial(_telling_proposals, tell)),
        (module.MIPROv2, "_optimize_prompt_parameters", functools.partial(_searching, tell)),
        (module.MIPROv2, "_select_and_insert_instructions_and_demos", _noting_choice),
        (module, "eval_candidate_program", _telling_trial),
    ]
    # A release that has renamed one tells less.
    undo = [patch(owner, name, make) for owner, name, make in watched if hasattr(owner, name)]

    def stop() -> None:
        while undo:
            undo.pop()()

    return stop


# -- what is proposed -------------------------------------------------------------------------


def _telling_demo_sets(tell: Callable[..., None], original: Callable) -> Callable:
    @never_raises
    def tell_demo_sets(program: Any, found: Any) -> None:
        for place, name in enumerate(_predictors(program) if found else ()):
            tell("demo_sets", predictor=name, sets=[list(demos) for demos in found[place]])

    def _bootstrap_fewshot_examples(self, program, *args, **kwargs):
        found = original(self, program, *args, **kwargs)
        tell_demo_sets(program, found)
        return found

    return _bootstrap_fewshot_examples


def _telling_proposals(tell: Callable[..., None], original: Callable) -> Callable:
    @never_raises
    def tell_proposals(program: Any, found: Any) -> None:
        for place, name in enumerate(_predictors(program)):
            tell("proposal", predictor=name, instructions=list(found[place]))

    def _propose_instructions(self, program, *args, **kwargs):
        found = original(self, program, *args, **kwargs)
        tell_proposals(program, found)
        return found

    return _propose_instructions


def _predictors(program: Any) -> list[str]:
    """Their names, in the order by which the optimizer numbers them."""
    return [name for name, _ in program.named_predictors()]


# -- what is tried ----------------------------------------------------------------------------


class _Search:
    """One search for the best of what was proposed."""

    def __init__(self, tell: Callable[..., None]):
        self._tell = tell
        self._number = 0
        # By the identity of a candidate, which lives here as long as its place.
        self._chosen: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._next: int | None = None

    @never_raises
    def note_choice(self, program: Any, number: int, params: dict[str, int]) -> None:
        chosen: dict[str, Any] = {}
        for place, name in enumerate(_predictors(program)):
            keys = {part: f"{place}_predictor_{part}" for part in _PARTS}
            chosen[name] = {part: params[key] for part, key in keys.items() if key in params}
        self._chosen[id(program)] = program, chosen
        self._next = number

    @never_raises
    def tell_trial(self, program: Any, is_full: bool) -> None:
        # The program as it was, and what is evaluated once more, follow on the trial before.
        self._number, self._next = self._number + 1 if self._next is None else self._next, None
        _, chosen = self._chosen.get(id(program), (None, {}))
        self._tell("trial", number=self._number, chosen=chosen, kind="full" if is_full else "minibatch")


_search: contextvars.ContextVar[_Search | None] = contextvars.ContextVar("mlflow_dspy_plugin_mipro", default=None)


def _searching(tell: Callable[..., None], original: Callable) -> Callable:
    def _optimize_prompt_parameters(self, *args, **kwargs):
        token = _search.set(_Search(tell))
        try:
            return original(self, *args, **kwargs)
        finally:
            _search.reset(token)

    return _optimize_prompt_parameters


def _noting_choice(original: Callable) -> Callable:
    @never_raises
    def note(*args: Any, **kwargs: Any) -> None:
        named = inspect.signature(original).bind(*args, **kwargs).arguments
        search, number = _search.get(), named["trial_num"]
        if search is not None:
            search.note_choice(named["candidate_program"], number, named["trial_logs"][number])

    def _select_and_insert_instructions_and_demos(self, *args, **kwargs):
        selected = original(self, *args, **kwargs)
        note(self, *args, **kwargs)
        return selected

    return _select_and_insert_instructions_and_demos


def _telling_trial(original: Callable) -> Callable:
    def eval_candidate_program(batch_size, trainset, candidate_program, *args, **kwargs):
        search = _search.get()
        if search is not None:
            search.tell_trial(candidate_program, batch_size >= len(trainset))
        return original(batch_size, trainset, candidate_program, *args, **kwargs)

    return eval_candidate_program

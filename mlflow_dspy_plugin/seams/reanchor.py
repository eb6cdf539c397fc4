"""What `ReAnchor` (dspy >= 3.4) alone knows while it compiles: the score of every setting of a program's decisions.

It is told in the thread and context of the compile. ReAnchor scores by DSPy's executor, never by `dspy.Evaluate`.

candidate_scored(program, instructions=None, scores, kind, parents=None, key=None)
    Of each setting, the program as it was first, on the training set ("train").
validation(score)
    The average on the validation set: before, and after.
"""

import contextvars
import functools
import importlib
from collections.abc import Callable
from typing import Any

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.seams.patch import patch

_PACKAGE = "dspy.teleprompt.reanchor"
_trainset: contextvars.ContextVar[Any] = contextvars.ContextVar("mlflow_dspy_plugin_reanchor", default=None)


def watch_reanchor(tell: Callable[..., None]) -> Callable[[], None]:
    """Call `tell(kind, **facts)` for what every `ReAnchor` finds out; returns the undo."""
    try:
        optimizer = importlib.import_module(_PACKAGE).ReAnchor
        calibrate = importlib.import_module(f"{_PACKAGE}.calibrate")
    except ModuleNotFoundError:
        return lambda: None
    if not hasattr(calibrate, "scores"):
        return lambda: None
    undo = [patch(optimizer, "compile", _compiling), patch(calibrate, "scores", functools.partial(_telling, tell))]

    def stop() -> None:
        while undo:
            undo.pop()()

    return stop


def _compiling(original: Callable) -> Callable:
    def compile(self, student, *args, **kwargs):
        token = _trainset.set(kwargs.get("trainset"))
        try:
            return original(self, student, *args, **kwargs)
        finally:
            _trainset.reset(token)

    return compile


def _telling(tell: Callable[..., None], original: Callable) -> Callable:
    @never_raises
    def tell_scores(program: Any, examples: Any, found: list[float]) -> None:
        if examples is _trainset.get():
            facts = {"scores": list(found), "kind": "train", "parents": None, "key": None}
            tell("candidate_scored", program=program, instructions=None, **facts)
        elif found:
            tell("validation", score=sum(found) / len(found))

    def scores(program, examples, *args, **kwargs):
        found = original(program, examples, *args, **kwargs)
        tell_scores(program, examples, found)
        return found

    return scores

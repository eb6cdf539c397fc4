"""Whose LM call it is: the program's that is improved, or else of what proposes or judges."""

from collections.abc import Callable
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt, never_raises
from mlflow_dspy_plugin.metering import METERS, REFLECTION, ROLE, TASK, count_call
from mlflow_dspy_plugin.programs.by_identity import ByIdentity
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams.dspy import Watcher
from mlflow_dspy_plugin.seams.lm_calls import watch_calls
from mlflow_dspy_plugin.tracking.plain_values import learn_secrets_of

# Under these names code inherits which program is evaluated, and what the one that is improved looks like.
PROGRAM, STUDENT = "program", "student"


def shape_of(program: Any) -> Any:
    """What copies of a program have in common, whatever an optimizer changes in them."""
    return attempt(lambda: _shape(program), lambda error: None)


def _shape(program: Any) -> tuple[Any, ...]:
    predictors = [(name, tuple(each.signature.fields)) for name, each in program.named_predictors()]
    return (type(program), *predictors)


class Roles(Watcher):
    """Has LM calls below the program counted as the program's."""

    def __init__(self) -> None:
        self._handed: dict[str, Any] = {}

    def listens(self) -> bool:
        return bool(handed_down.inherited(METERS)) and handed_down.inherited(ROLE) != TASK

    @never_raises
    def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        if self._is_the_program(instance):
            self._handed[call_id] = handed_down.hand_down(**{ROLE: TASK})

    @never_raises
    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if (handed := self._handed.pop(call_id, None)) is not None:
            handed_down.take_back(handed)

    def _is_the_program(self, instance: Any) -> bool:
        program = handed_down.inherited(PROGRAM)
        if program is not None:
            return instance is program
        student = handed_down.inherited(STUDENT)
        return student is not None and type(instance) is student[0] and shape_of(instance) == student


def is_part_of_a_call() -> bool:
    """Whether this runs in the program that is evaluated, or in the metric: nothing there is tried by itself.

    A program may compile another one each time, as `dspy.KNNFewShot` makes them.
    """
    return handed_down.inherited(ROLE) not in (None, REFLECTION)


def count_calls() -> Callable[[], None]:
    """Have calls of language models counted; returns the undo."""
    return watch_calls(_called)


# Language models whose secrets are known.
_known: ByIdentity[bool] = ByIdentity()


@never_raises
def _called(lm: dspy.BaseLM, seconds: float) -> None:
    if not handed_down.inherited(METERS):
        return
    count_call(seconds)
    if _known.get(lm) is None:
        # Errors of its provider may repeat its key.
        _known.set(lm, True)
        learn_secrets_of(lm)

"""Whose LM call it is: the program's that is improved, or else of what proposes or judges."""

from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt, never_raises
from mlflow_dspy_plugin.metering import METERS, ROLE, TASK, Counting
from mlflow_dspy_plugin.programs.by_identity import ByIdentity
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams.dspy import Watcher
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
        self._counting = Counting()
        self._known: ByIdentity[bool] = ByIdentity()

    def listens(self) -> bool:
        return bool(handed_down.inherited(METERS))

    @never_raises
    def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        # dspy 3.0 to 3.3 take a language model that is no `dspy.LM` for a module.
        if isinstance(instance, dspy.BaseLM):
            self._begin(call_id, instance)
        elif handed_down.inherited(ROLE) != TASK and self._is_the_program(instance):
            self._handed[call_id] = handed_down.hand_down(**{ROLE: TASK})

    @never_raises
    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if (handed := self._handed.pop(call_id, None)) is not None:
            handed_down.take_back(handed)
        self._counting.end(call_id)

    @never_raises
    def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None:
        self._begin(call_id, instance)

    @never_raises
    def on_lm_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self._counting.end(call_id)

    def _begin(self, call_id: str, lm: Any) -> None:
        self._counting.begin(call_id)
        if self._known.get(lm) is None:
            # Errors of its provider may repeat its key.
            self._known.set(lm, True)
            learn_secrets_of(lm)

    def _is_the_program(self, instance: Any) -> bool:
        program = handed_down.inherited(PROGRAM)
        if program is not None:
            return instance is program
        student = handed_down.inherited(STUDENT)
        return student is not None and type(instance) is student[0] and shape_of(instance) == student

"""Copies of a program's modules and of the containers that they stand in; all else is shared with the original."""

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

import dspy

from mlflow_dspy_plugin.programs.language_models import REMEMBERED, module_of_method


def _itself(lm: dspy.BaseLM) -> dspy.BaseLM:
    return lm


class Copies:
    """Makes copies; what is shared in the original is shared in them.

    A deep copy would take what a program may hold beside its modules, such as an index, along with it.

    Args:
        containers: The lists, tuples and dicts that are to be copied, by id, and the program's modules.
        of_lm: What stands in place of a language model.
    """

    def __init__(self, containers: Mapping[int, Any], of_lm: Callable[[dspy.BaseLM], dspy.BaseLM] = _itself):
        self._containers, self._of_lm = containers, of_lm
        # Original and copy, by the id of the original.
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        """The copy of a language model, of a module, its method, or a container of these; else the value itself."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        if isinstance(value, dspy.BaseLM):
            return self._noted(value, self._of_lm(value))
        if isinstance(value, dspy.Module):
            module = self._noted(value, object.__new__(type(value)))
            held = dict(vars(value))
            module.__dict__.update({name: item if name in REMEMBERED else self.of(item) for name, item in held.items()})
            return module
        if self._is_copied(owner := module_of_method(value)):
            # The module may stand behind its method, and have it too.
            self.of(owner)
            return self._made[id(value)][1] if id(value) in self._made else self._noted(value, self._rebound(value))
        if id(value) not in self._containers:
            return value
        if type(value) is dict:
            return self._noted(value, {key: self.of(item) for key, item in dict(value).items()})
        return self._noted(value, type(value)(map(self.of, tuple(value)))) if type(value) in (list, tuple) else value

    def _is_copied(self, module: dspy.Module | None) -> bool:
        return module is not None and (id(module) in self._made or id(module) in self._containers)

    def _rebound(self, method: Any) -> Any:
        """A method, or a tool that is one, of the copy of its module: it would else ask the original's predictors."""
        if isinstance(method, dspy.Tool):
            return method.model_copy(update={"func": self._rebound(method.func)})
        return MethodType(method.__func__, self.of(method.__self__))

    def _noted(self, original: Any, made: Any) -> Any:
        self._made[id(original)] = (original, made)
        return made

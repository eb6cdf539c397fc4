"""What one request overrides of the language models' arguments; other requests do not see it."""

import copy
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.programs.language_models import language_models


def overridden(
    program: dspy.Module, settings: Mapping[str, Any], params: Mapping[str, Any] | None
) -> tuple[dspy.Module, Mapping[str, Any]]:
    """The program and the settings for one request.

    Args:
        program: The program; it stays as it is.
        settings: DSPy's settings for the call.
        params: Arguments of `dspy.LM`, such as `temperature` or `cache`; MLflow has checked them
            against the model's signature. None stands for one that was not given.

    Returns:
        Both as they are where nothing is given; else with copies of the language models, and of the
        modules that hold one.
    """
    given = {name: value for name, value in (params or {}).items() if value is not None}
    if not given:
        return program, settings
    copies = _Copies(given)
    if any(language_models(program, "program")):
        program = copies.of(program)
    lm = settings.get("lm", dspy.settings.lm)
    return program, settings if lm is None else {**settings, "lm": copies.of(lm)}


class _Copies:
    """Copies of language models and of what holds them; the rest of a program is shared with it.

    A deep copy would take what a program may hold beside them, such as an index, along with every
    request.
    """

    def __init__(self, given: Mapping[str, Any]):
        self._given = given
        # Original and copy, by the id of the original: what is shared stays shared.
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        """The copy of a language model or module, or of a container with one; else the value itself."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        if isinstance(value, dspy.BaseLM):
            self._made[id(value)] = (value, _with(value, self._given))
        elif isinstance(value, dspy.Module):
            module = object.__new__(type(value))
            self._made[id(value)] = (value, module)
            module.__dict__.update({name: self.of(item) for name, item in vars(value).items()})
        elif type(value) is dict:
            return self._container(value, {key: self.of(item) for key, item in value.items()}, value.values())
        elif type(value) in (list, tuple):
            return self._container(value, type(value)(map(self.of, value)), value)
        else:
            return value
        return self._made[id(value)][1]

    def _container(self, value: Any, new: Any, items: Any) -> Any:
        """The new container where an item is new: a list in which a module notes something is shared."""
        made = new.values() if isinstance(new, dict) else new
        return value if all(a is b for a, b in zip(items, made, strict=True)) else new


def _with(lm: dspy.BaseLM, given: Mapping[str, Any]) -> dspy.BaseLM:
    # dspy 3.0 to 3.3 copy all past calls, to forget them.
    light = copy.copy(lm)
    light.history = []
    # The name that DSPy gives it for OpenAI's reasoning models.
    renamed = {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" in lm.kwargs else {}
    return light.copy(**{renamed.get(name, name): value for name, value in given.items()})

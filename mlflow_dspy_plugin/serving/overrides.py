"""What one request overrides of the language models' arguments; other requests do not see it."""

import copy
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.programs.by_identity import ByIdentity
from mlflow_dspy_plugin.programs.language_models import REMEMBERED, containers_of_modules, language_models

# What is copied of each program that holds a language model, beside its modules.
_containers: ByIdentity[tuple[dict[int, Any] | None]] = ByIdentity()


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
    containers = _containers_of(program)
    copies = _Copies(given, containers or {})
    if containers is not None:
        program = copies.of(program)
    lm = settings.get("lm", dspy.settings.lm)
    return program, settings if lm is None else {**settings, "lm": copies.of(lm)}


def _containers_of(program: dspy.Module) -> dict[int, Any] | None:
    """Looked for once: what a program of the user's keeps in its attributes may be large, and grow meanwhile."""
    known = _containers.get(program)
    if known is None:
        holds_any = any(language_models(program, "program"))
        known = (containers_of_modules(program) if holds_any else None,)
        _containers.set(program, known)
    return known[0]


class _Copies:
    """Copies of language models, and of the modules and containers that hold them; all else is shared.

    A deep copy would take what a program may hold beside them, such as an index, along with every
    request.
    """

    def __init__(self, given: Mapping[str, Any], containers: Mapping[int, Any]):
        self._given, self._containers = given, containers
        # Original and copy, by the id of the original: what is shared stays shared.
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        """The copy of a language model, of a module, or of a container with one; else the value itself."""
        if id(value) in self._made:
            return self._made[id(value)][1]
        if isinstance(value, dspy.BaseLM):
            return self._noted(value, _with(value, self._given))
        if isinstance(value, dspy.Module):
            module = self._noted(value, object.__new__(type(value)))
            held = dict(vars(value))
            module.__dict__.update({name: item if name in REMEMBERED else self.of(item) for name, item in held.items()})
            return module
        if id(value) not in self._containers:
            return value
        if type(value) is dict:
            return self._noted(value, {key: self.of(item) for key, item in dict(value).items()})
        return self._noted(value, type(value)(map(self.of, tuple(value)))) if type(value) in (list, tuple) else value

    def _noted(self, original: Any, made: Any) -> Any:
        self._made[id(original)] = (original, made)
        return made


def _with(lm: dspy.BaseLM, given: Mapping[str, Any]) -> dspy.BaseLM:
    # dspy 3.0 to 3.3 copy all past calls, to forget them.
    light = copy.copy(lm)
    light.history = []
    # The name that DSPy gives it for OpenAI's reasoning models.
    renamed = {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" in lm.kwargs else {}
    return light.copy(**{renamed.get(name, name): value for name, value in given.items()})

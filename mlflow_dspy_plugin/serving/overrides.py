"""What one request overrides of the language models' arguments; other requests do not see it."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.programs.by_identity import ByIdentity
from mlflow_dspy_plugin.programs.copies import Copies
from mlflow_dspy_plugin.programs.language_models import containers_of_modules, language_models

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
    copies = Copies(containers or {}, functools.partial(_with, given=given))
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


def _with(lm: dspy.BaseLM, given: Mapping[str, Any]) -> dspy.BaseLM:
    # dspy 3.0 to 3.3 copy all past calls, to forget them.
    light = copy.copy(lm)
    light.history = []
    # The name that DSPy gives it for OpenAI's reasoning models.
    renamed = {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" in lm.kwargs else {}
    return light.copy(**{renamed.get(name, name): value for name, value in given.items()})

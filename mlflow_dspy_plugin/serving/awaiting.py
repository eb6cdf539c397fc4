"""Which programs a server may await in the event loop that it answers from: those that hold up nobody there."""

import functools
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.programs.by_identity import ByIdentity
from mlflow_dspy_plugin.programs.language_models import language_models
from mlflow_dspy_plugin.programs.modules import modules_of

# DSPy's other modules call tools and interpreters in between, which may be synchronous.
_OF_DSPY = (dspy.Predict, dspy.ChainOfThought)
_known: ByIdentity[bool] = ByIdentity()


def is_awaited(program: dspy.Module, settings: Mapping[str, Any]) -> bool:
    """Whether the asynchronous side of a program, and of what answers it, stands for its synchronous one.

    Args:
        program: The program; what is found out about it is remembered.
        settings: DSPy's settings for the call.
    """
    lm, adapter = (settings.get(name, dspy.settings[name]) for name in ("lm", "adapter"))
    if not all(each is None or _stands_for(type(each), "acall", "__call__") for each in (lm, adapter)):
        return False
    if lm is not None and not _stands_for(type(lm), "aforward", "forward"):
        return False
    known = _known.get(program)
    if known is None:
        known = all(map(_is_awaited, modules_of(program))) and all(
            _stands_for(type(each), "aforward", "forward") for _, each in language_models(program, "")
        )
        _known.set(program, known)
    return known


def _is_awaited(module: dspy.Module) -> bool:
    kind = type(module)
    maker = next((base for base in kind.__mro__ if "aforward" in vars(base)), None)
    return (
        maker is not None
        and (maker in _OF_DSPY or maker.__module__.partition(".")[0] != "dspy")
        and _stands_for(kind, "aforward", "forward")
        and _stands_for(kind, "acall", "__call__")
    )


@functools.cache
def _stands_for(kind: type, asynchronous: str, synchronous: str) -> bool:
    """Whether nobody has overridden the synchronous method of a class without the asynchronous one."""
    for base in kind.__mro__:
        if asynchronous in vars(base):
            return True
        if synchronous in vars(base):
            return False
    return False

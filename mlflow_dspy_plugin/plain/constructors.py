"""Which objects can make themselves again: from what they dump, or by their constructor."""

import inspect
from collections.abc import Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.plain.nodes import NotPlain

_ENGINE_METHODS = ("complete", "dump_state", "load_state")
# Whose constructors may be called for want of a plain state.
_CONSTRUCTIBLE = (dspy.Module, dspy.BaseLM, dspy.Adapter, dspy.Retrieve)


def dumps_itself(obj: Any) -> bool:
    """Whether an object says what it is made of, and its class makes it of that again.

    So do engines of language models, and language models with a `dump_state` of their own.
    """
    return is_language_model(type(obj)) or is_engine(type(obj))


def is_engine(cls: type) -> bool:
    """Whether a class is an engine of language models that can be made again."""
    return not issubclass(cls, dspy.BaseLM) and all(callable(getattr(cls, name, None)) for name in _ENGINE_METHODS)


def is_language_model(cls: type) -> bool:
    """Whether a class is a language model with a `dump_state` and `load_state` of its own."""
    return issubclass(cls, dspy.BaseLM) and _is_users(cls, "dump_state") and _is_users(cls, "load_state")


def may_be_constructed(cls: type) -> bool:
    """Whether the constructor of a class may be called at load: it is a user's part of a program."""
    return issubclass(cls, _CONSTRUCTIBLE) and cls.__module__.split(".")[0] != "dspy"


def constructor_arguments(obj: Any, where: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the constructor of an object was given, as its attributes of the same names say.

    Args:
        obj: The object.
        where: Its place, for the error.
        given: Arguments that stand in place of the attributes.

    Raises:
        NotPlain: If there is no attribute for an argument that the constructor needs.
    """
    arguments = dict(given or {})
    for parameter in constructor_parameters(type(obj)):
        if parameter.name in arguments:
            continue
        if hasattr(obj, parameter.name):
            arguments[parameter.name] = getattr(obj, parameter.name)
        elif parameter.default is parameter.empty:
            raise NotPlain(f"{where} keeps no attribute {parameter.name!r} for its constructor")
    return arguments


def constructor_parameters(cls: type) -> list[inspect.Parameter]:
    """The parameters of a constructor that can be given by name."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter for parameter in parameters if parameter.kind in by_name]


def _is_users(cls: type, name: str) -> bool:
    function = getattr(getattr(cls, name, None), "__func__", getattr(cls, name, None))
    return callable(function) and str(getattr(function, "__module__", "dspy")).split(".")[0] != "dspy"

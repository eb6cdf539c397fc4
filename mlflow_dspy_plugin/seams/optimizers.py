"""What an optimizer was made with, as far as it keeps that; and the metric inside of a function of DSPy's."""

import inspect
from collections.abc import Mapping
from typing import Any

# What optimizers of DSPy call a parameter of their constructors.
_KEPT_AS = {
    "metric_fn": "metric",
    "max_num_samples": "max_bootstrapped_demos",
    "num_candidate_sets": "num_candidate_programs",
}
# What they keep in an attribute that is an object of DSPy's.
_KEPT_IN = {"KNN": ("k", "trainset")}
# What the functions that they put around it call it.
_WRAPPED = ("metric", "reflection_lm")


def made_with(optimizer: Any) -> dict[str, Any]:
    """The arguments of its constructor, and its other attributes that are plain values."""
    kept, names = dict(vars(optimizer)), _parameters(type(optimizer))
    for attribute, name in _KEPT_AS.items():
        if attribute in kept and name in names:
            kept.setdefault(name, kept.pop(attribute))
    for attribute, inner in _KEPT_IN.items():
        for name in inner if attribute in kept else ():
            kept.setdefault(name, getattr(kept[attribute], name, None))
    more = {name: value for name, value in kept.items() if names.get(name) is inspect.Parameter.VAR_KEYWORD}
    told = {
        name: value
        for name, value in kept.items()
        if name not in more and (name in names or isinstance(value, (bool, int, float, str)))
    }
    for arguments in more.values():
        told.update(arguments if isinstance(arguments, Mapping) else {})
    return told


def _parameters(cls: type) -> dict[str, Any]:
    """The parameters of the constructors of a class and its bases, and of what kind they are."""
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__[:-1]):
        if "__init__" in vars(each):
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            found.update({parameter.name: parameter.kind for parameter in parameters})
    return found


def wrapped(function: Any) -> Any:
    """The metric or language model of the user's in a function that an optimizer of DSPy puts around it.

    Anything else is itself.
    """
    if not inspect.isfunction(function) or str(function.__module__).partition(".")[0] != "dspy":
        return function
    kept = inspect.getclosurevars(function).nonlocals
    return next((kept[name] for name in _WRAPPED if kept.get(name) is not None), function)


# -- what DSPy makes of a program to see its trace ----------------------------------------------

_TRACED = "dspy.teleprompt.bootstrap_trace"


def prediction_in(returned: Any) -> Any:
    """The prediction in what a program returns that is evaluated with its trace: (prediction, trace)."""
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], list):
        return returned
    # One that could not be parsed is a class of DSPy's too.
    is_dspys = type(returned[0]).__module__.partition(".")[0] == "dspy"
    return returned[0] if is_dspys else returned


def copy_of(program: Any) -> Any:
    """A copy of a program that returns predictions, also while it is made to return its trace beside them."""
    copied = program.deepcopy()
    if getattr(vars(copied).get("forward"), "__module__", None) == _TRACED:
        del copied.forward
    return copied

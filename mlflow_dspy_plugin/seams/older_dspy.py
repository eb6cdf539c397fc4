"""Completes what an older DSPy or another Python has pickled: newer releases read attributes that were not there."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

import dspy

# A class -> how to make an object of it that has all of its attributes.
_FRESH = {
    dspy.Predict: lambda: dspy.Predict("question -> answer"),
    dspy.LM: lambda: dspy.LM("openai/gpt-4o-mini"),
    dspy.ChatAdapter: dspy.ChatAdapter,
    dspy.JSONAdapter: dspy.JSONAdapter,
    dspy.XMLAdapter: dspy.XMLAdapter,
    dspy.Adapter: dspy.Adapter,
    dspy.Parallel: dspy.Parallel,
    dspy.ReAct: lambda: dspy.ReAct("question -> answer", tools=[]),
}


def complete(program: dspy.Module, settings: Mapping[str, Any]) -> None:
    """Give the program and what is set the attributes that they lack here.

    Args:
        program: The program, as it was unpickled.
        settings: DSPy's settings, as they were unpickled.
    """
    for holder in [settings, *(vars(module) for _, module in program.named_sub_modules())]:
        for value in list(holder.values()):
            _complete_one(value)
    for _, module in program.named_sub_modules():
        _complete_one(module)
        if type(module) is dspy.ReAct:
            # A lambda of DSPy's: another Python's, and a pickle holds its bytecode.
            module.tools["finish"].func = _attributes(dspy.ReAct)["tools"]["finish"].func


def _complete_one(value: Any) -> None:
    cls = next((each for each in type(value).__mro__ if each in _FRESH), None)
    if cls is not None:
        for name, default in _attributes(cls).items():
            # Subclasses may do without a predictor of their base's: CodeAct is a ReAct without `react`.
            if name not in vars(value) and not isinstance(default, dspy.Module):
                setattr(value, name, copy.copy(default))


@functools.cache
def _attributes(cls: type) -> dict[str, Any]:
    return vars(_FRESH[cls]())

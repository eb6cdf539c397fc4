"""Every event of DSPy is handled, or not on purpose."""

import inspect

import pytest
from dspy.utils.callback import BaseCallback

from mlflow_dspy_plugin.tracing.callback import TracingCallback

# What a code interpreter does comes with the spans of everything that DSPy does.
_LATER = "comes with the spans of agents that write code"
NOT_HANDLED = {
    f"on_interpreter_{operation}_{moment}": _LATER
    for operation in ("execute", "tool_call", "startup", "shutdown")
    for moment in ("start", "end")
}
EVENTS = {name for name in vars(BaseCallback) if name.startswith("on_")}


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_of_dspy_is_handled_or_listed(event):
    handled = getattr(TracingCallback, event) is not getattr(BaseCallback, event)
    assert handled != (event in NOT_HANDLED)


@pytest.mark.parametrize("event", sorted(EVENTS - set(NOT_HANDLED)))
def test_a_handler_takes_what_dspy_gives(event):
    def names(cls):
        return list(inspect.signature(getattr(cls, event)).parameters)

    assert names(TracingCallback) == names(BaseCallback)


def test_every_start_has_its_end():
    starts = {name.removesuffix("_start") for name in EVENTS if name.endswith("_start")}
    assert starts == {name.removesuffix("_end") for name in EVENTS if name.endswith("_end")}

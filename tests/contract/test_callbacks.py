"""Every event of DSPy is handled, or not on purpose."""

import inspect

import pytest
from dspy.utils.callback import BaseCallback

from mlflow_dspy_plugin.tracing.callback import TracingCallback

# When an interpreter is shut down its program has had what it wanted of it.
NOT_HANDLED = {"on_interpreter_shutdown_start", "on_interpreter_shutdown_end"}
EVENTS = {name for name in vars(BaseCallback) if name.startswith("on_")}


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_of_dspy_is_handled_or_listed(event):
    handled = getattr(TracingCallback, event) is not getattr(BaseCallback, event)
    assert handled != (event in NOT_HANDLED)


def test_what_is_not_handled_is_an_event_where_the_release_has_events_of_interpreters():
    assert NOT_HANDLED <= EVENTS or not any(name.startswith("on_interpreter") for name in EVENTS)


@pytest.mark.parametrize("event", sorted(EVENTS - NOT_HANDLED))
def test_a_handler_takes_what_dspy_gives(event):
    def names(cls):
        return list(inspect.signature(getattr(cls, event)).parameters)

    assert names(TracingCallback) == names(BaseCallback)


def test_every_start_has_its_end():
    starts = {name.removesuffix("_start") for name in EVENTS if name.endswith("_start")}
    assert starts == {name.removesuffix("_end") for name in EVENTS if name.endswith("_end")}

"""Errors are recorded, and the program returns and raises what it does without tracing."""

import asyncio
import contextlib
import re

import dspy
import mlflow
import pytest
from dspy.utils.callback import BaseCallback

from tests.fakes.scripted import scripted_lm
from tests.tracing.trees import outline, under

FAULT = RuntimeError("the program's own")


class Raising(dspy.Module):
    """Raises what it is given, one floor down."""

    class Inner(dspy.Module):
        def forward(self, error):
            raise error

        async def aforward(self, error):
            raise error

    def __init__(self):
        super().__init__()
        self.inner = self.Inner()

    def forward(self, error):
        return self.inner(error=error)

    async def aforward(self, error):
        return await self.inner.acall(error=error)


ERRORS = [FAULT, KeyboardInterrupt(), SystemExit(2), GeneratorExit(), asyncio.CancelledError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_every_exception_leaves_as_it_is_and_closes_its_spans_as_errors(error, is_async, trace):
    program = Raising()
    with pytest.raises(type(error), match=f"^{re.escape(str(error))}$") as raised:
        if is_async:
            # Without a task: asyncio treats some of these exceptions in its own way.
            program.acall(error=error).send(None)
        else:
            program(error=error)
    assert raised.value is error
    name = type(error).__name__
    lines = outline(trace(), content=False)
    assert lines == under(f"Raising.forward CHAIN ERROR !{name}", f"Inner.forward CHAIN ERROR !{name}")


def test_an_error_is_an_event_with_its_message_and_stack(trace):
    with pytest.raises(RuntimeError, match="the program's own"):
        Raising()(error=FAULT)
    found = trace()
    assert found.info.state == "ERROR"
    [event] = found.data.spans[1].events
    assert (event.name, event.attributes["exception.message"]) == ("exception", "the program's own")
    assert "in forward" in event.attributes["exception.stacktrace"]


def test_an_lm_error_is_on_the_lm_span_and_all_above(trace):
    lm = scripted_lm([ConnectionError("refused")])
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()), pytest.raises(Exception, match="refused"):
        dspy.Predict("question -> answer")(question="q")
    statuses = {line.split()[0]: line.split()[2] for line in outline(trace()).splitlines()}
    assert (statuses["Predict.forward"], statuses["LM.__call__"]) == ("ERROR", "ERROR")
    assert statuses["JSONAdapter.format"] == "OK"


class Unreadable:
    """Whatever is tried to show or to copy it raises."""

    def __repr__(self):
        raise ValueError("no repr")

    __str__ = __repr__

    def __deepcopy__(self, memo):
        raise ValueError("no copy")

    def __getstate__(self):
        raise ValueError("no state")


class BadError(Exception):
    def __str__(self):
        raise ValueError("no message")


def cyclic():
    value = {}
    value["self"] = value
    return value


ODD = {
    "unreadable": Unreadable(),
    "cyclic": cyclic(),
    "deep": [[[Unreadable()]]],
    "bytes": b"\xff\x00",
    "nan": float("nan"),
    "set": {1, frozenset({2})},
    "strange keys": {(1, 2): 3, None: 4, 5: 6},
    "class": Unreadable,
    "generator": (i for i in range(3)),
    "surrogate": "\ud83d",
}


class Echo(dspy.Module):
    def forward(self, value):
        return dspy.Prediction(value=value, fine="yes")


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_what_cannot_be_shown_goes_through_the_program_unharmed(value, monkeypatch):
    """No span is left open, as the fixture of this folder makes sure; the result is the same."""
    for testing in ("true", "false"):
        monkeypatch.setenv("MLFLOW_AUTOLOGGING_TESTING", testing)
        assert Echo()(value=value).value is value


def test_what_cannot_be_shown_costs_no_span(trace, monkeypatch, log):
    monkeypatch.setenv("MLFLOW_AUTOLOGGING_TESTING", "false")

    class Both(dspy.Module):
        def __init__(self):
            super().__init__()
            self.echo = Echo()

        def forward(self, value):
            return self.echo(value=value)

    Both()(value=Unreadable())
    assert outline(trace(), content=False) == under("Both.forward CHAIN OK", "Echo.forward CHAIN OK")
    assert log == [
        "mlflow_dspy_plugin: Traces cannot show a value of type Unreadable (ValueError); a placeholder stands for it."
    ]


def test_silent_autologging_says_nothing_of_what_it_cannot_show(monkeypatch, log):
    monkeypatch.setenv("MLFLOW_AUTOLOGGING_TESTING", "false")
    mlflow.dspy.autolog(silent=True)
    Echo()(value=Unreadable())
    assert log == []


def test_an_exception_that_has_no_message_closes_its_spans(monkeypatch, trace):
    monkeypatch.setenv("MLFLOW_AUTOLOGGING_TESTING", "false")
    error = BadError()
    try:
        Raising()(error=error)
    except BadError as raised:
        assert raised is error
    lines = outline(trace(), content=False)
    assert lines == under("Raising.forward CHAIN ERROR !BadError", "Inner.forward CHAIN ERROR !BadError")


def test_a_function_of_the_user_that_fails_while_tracing_costs_no_span_and_leaks_nothing(trace, log):
    def fails(text):
        raise LookupError("the user's own")

    mlflow.dspy.autolog(redact=fails)
    assert Echo()(value="secret of the user").value == "secret of the user"
    found = trace()
    assert outline(found, content=False) == "Echo.forward CHAIN OK\n"
    assert "secret of the user" not in found.to_json()
    assert len(log) == 1


def test_results_keep_their_identity():
    result = dspy.Prediction(answer="a")

    class Fixed(dspy.Module):
        def forward(self):
            return result

    assert Fixed()() is result
    assert dspy.Tool(lambda x: x, name="same", args={"x": {}})(x=result) is result


class Recording(BaseCallback):
    """A callback of the user's that notes all it is told."""

    def __init__(self):
        self.events = []

    def on_module_start(self, call_id, instance, inputs):
        self.events.append(("start", dict(inputs), mlflow.get_current_active_span()))

    def on_module_end(self, call_id, outputs, exception=None):
        self.events.append(("end", outputs, exception))


@pytest.mark.parametrize("where", ["configured", "in context", "of the module"])
def test_a_callback_of_the_user_is_called_as_without_tracing(where):
    recording = Recording()
    module = Echo()
    with contextlib.ExitStack() as stack:
        if where == "configured":
            dspy.configure(callbacks=[recording])
        elif where == "in context":
            stack.enter_context(dspy.context(callbacks=[recording]))
        else:
            module.callbacks = [recording]
        result = module(value={"api_key": "mine"})
    started, ended = recording.events
    # What tracing puts out of sight stays in the inputs that others are told.
    assert started[:2] == ("start", {"args": (), "kwargs": {"value": {"api_key": "mine"}}})
    assert ended == ("end", result, None)
    # Those of the settings come before ours, as if ours were not there.
    assert (started[2] is None) == (where != "of the module")


class Faulty(BaseCallback):
    def on_module_start(self, call_id, instance, inputs):
        raise ValueError("the user's callback")

    def on_module_end(self, call_id, outputs, exception=None):
        raise ValueError("the user's callback")


def test_a_callback_of_the_user_that_raises_costs_no_trace(trace):
    with dspy.context(callbacks=[Faulty()]):
        Echo()(value=1)
    assert outline(trace()) == "Echo.forward CHAIN OK {'value': 1} -> {'value': 1, 'fine': 'yes'}\n"

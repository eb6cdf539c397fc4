"""Tracing keeps nothing of the calls that have ended."""

import gc
import weakref

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.tracing.callback import TracingCallback


class Payload:
    """What a program works with."""


class Echo(dspy.Module):
    def forward(self, value, fail):
        if fail:
            raise ValueError("asked to")
        return dspy.Prediction(value=value)


def installed():
    [callback] = [each for each in dspy.settings.get("callbacks") if isinstance(each, TracingCallback)]
    return callback


def call_often(program, times):
    for i in range(times):
        try:
            program(value=i, fail=i % 4 == 0)
        except ValueError:
            continue


def test_no_entry_is_left_after_two_thousand_calls():
    """Some of them with spans; storing the traces of all would take a minute."""
    callback, program = installed(), Echo()
    call_often(program, 20)
    mlflow.tracing.disable()
    try:
        call_often(program, 2_000)
    finally:
        mlflow.tracing.enable()
    assert callback._calls._open == {}
    assert callback._calls._traces == {}


def test_programs_and_values_are_not_kept_alive():
    program, payload = Echo(), Payload()
    program(value=payload, fail=False)
    with pytest.raises(ValueError, match="asked to"):
        program(value=payload, fail=True)
    watched = [weakref.ref(program), weakref.ref(payload)]
    del program, payload
    gc.collect()
    assert [ref() for ref in watched] == [None, None]

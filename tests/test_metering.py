"""What meters count: each answer once, however many have asked for it to be counted."""

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.metering import METERS, Meter, count_answers
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams.lm_calls import watch_results
from tests.fakes.scripted import scripted_lm


def tokens_of_one_call() -> int:
    meter = Meter()
    handed = handed_down.hand_down(**{METERS: (meter,)})
    try:
        scripted_lm("hello")("hello")
    finally:
        handed_down.take_back(handed)
    return meter.total("total_tokens")


def test_an_answer_is_counted_once_however_often_that_was_asked_for():
    undo = [count_answers(), count_answers()]
    while undo:
        assert tokens_of_one_call() == 15
        undo.pop()()


def test_autolog_may_begin_and_end_in_between():
    undo = count_answers()
    for disable in (False, False, True):
        mlflow.dspy.autolog(log_compiles=True, disable=disable)
        assert tokens_of_one_call() == 15
    undo()


@pytest.mark.parametrize("first", [0, 1])
def test_nobody_is_told_of_answers_after_the_undo_in_whatever_order(first):
    told: tuple[list, list] = [], []
    undo = [watch_results(each.append) for each in told]
    scripted_lm("hello")("hello")
    undo.pop(first)()
    scripted_lm("hello")("hello")
    undo.pop()()
    scripted_lm("hello")("hello")
    assert (len(told[first]), len(told[1 - first])) == (1, 2)


def test_what_the_cache_answers_costs_nothing():
    undo = count_answers()
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    try:
        lm = scripted_lm("hello", cache=True)
        meter = Meter()
        handed = handed_down.hand_down(**{METERS: (meter,)})
        lm("hello")
        lm("hello")
        handed_down.take_back(handed)
    finally:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
        undo()
    assert (meter.total("total_tokens"), meter.total("cached")) == (15, 1)

"""Of the calls from outside, the part that the user asks for is traced, whole trees or nothing."""

import random

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import SettingError
from tests.tracing.trees import outline, predictor

PREDICT = dspy.Predict("question -> answer")
ASKED = predictor("Predict.forward LLM OK {'question': 'q'} -> {'answer': 'a'}")


def test_the_given_part_of_the_calls_is_traced_whole(traces):
    mlflow.dspy.autolog(sampling_ratio=0.5)
    for _ in range(40):
        PREDICT(question="q")
    found = traces()
    # One run in four million has fewer or more.
    assert 4 < len(found) < 36
    assert set(map(outline, found)) == {ASKED}


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_a_program_that_has_seeded_its_random_numbers_gets_the_same_as_without_tracing(ratio):
    class Draws(dspy.Module):
        def forward(self):
            return dspy.Prediction(number=random.random())

    def drawn():
        random.seed(7)
        return [Draws()().number for _ in range(3)]

    mlflow.dspy.autolog(sampling_ratio=ratio)
    traced = drawn()
    mlflow.dspy.autolog(disable=True)
    assert drawn() == traced


@pytest.mark.parametrize(("ratio", "count"), [(0, 0), (1, 3), (None, 3)])
def test_none_or_all_of_them(ratio, count, traces):
    mlflow.dspy.autolog(sampling_ratio=ratio)
    for _ in range(3):
        PREDICT(question="q")
    assert len(traces()) == count


def test_what_the_user_traces_inside_a_call_that_is_left_out_is_left_out_too(traces):
    class Outer(dspy.Module):
        def forward(self):
            with mlflow.start_span("mine"):
                return PREDICT(question="q")

    mlflow.dspy.autolog(sampling_ratio=0)
    assert Outer()().answer == "a"
    assert traces() == []
    with mlflow.start_span("afterwards"):
        PREDICT(question="q")
    assert len(traces()) == 1


def test_a_call_inside_a_span_of_the_user_belongs_to_it_whatever_the_ratio(trace):
    mlflow.dspy.autolog(sampling_ratio=0)
    with mlflow.start_span("mine"):
        PREDICT(question="q")
    assert outline(trace()).splitlines()[1].startswith("  Predict.forward LLM OK")


@pytest.mark.parametrize("ratio", [-0.1, 1.1, "half", True, float("nan")])
def test_a_ratio_that_means_nothing_is_refused_and_nothing_changes(ratio, trace):
    with pytest.raises(SettingError, match="sampling_ratio got"):
        mlflow.dspy.autolog(sampling_ratio=ratio)
    PREDICT(question="q")
    assert outline(trace()) == ASKED


def test_a_choice_of_compile_traces_that_means_nothing_is_refused():
    with pytest.raises(SettingError, match="log_traces_from_compile got 'best'. Give True, False or 'failed-and-best'"):
        mlflow.dspy.autolog(log_traces_from_compile="best")

"""DSPy's spans and the user's own stand in one tree, whatever of MLflow's tracing the user uses."""

import dspy
import mlflow
import pytest

from tests.fakes.scripted import scripted_lm
from tests.tracing.trees import outline, predictor, under

PREDICT = dspy.Predict("question -> answer")
ASKED = predictor("Predict.forward LLM OK {'question': 'q'} -> {'answer': 'a'}")


def test_a_program_inside_a_traced_function_is_below_it(trace):
    @mlflow.trace
    def mine(question):
        return PREDICT(question=question).answer

    mine("q")
    assert outline(trace()) == under("mine UNKNOWN OK {'question': 'q'} -> a", ASKED)


def test_a_traced_function_inside_a_module_is_below_it_and_has_the_calls_it_makes(trace):
    @mlflow.trace
    def mine(question):
        return PREDICT(question=question).answer

    class Outer(dspy.Module):
        def forward(self, question):
            return dspy.Prediction(answer=mine(question))

    Outer()(question="q")
    assert outline(trace()) == under(
        "Outer.forward CHAIN OK {'question': 'q'} -> {'answer': 'a'}",
        under("mine UNKNOWN OK {'question': 'q'} -> a", ASKED),
    )


def test_a_traced_function_in_a_worker_thread_of_dspy_is_in_the_trace_that_its_caller_is_in(trace):
    class Inner(dspy.Module):
        def forward(self, question):
            with mlflow.start_span("mine"):
                return PREDICT(question=question)

    class Outer(dspy.Module):
        def forward(self):
            return dspy.Parallel(num_threads=2, disable_progress_bar=True)([(Inner(), {"question": "q"})])

    Outer()()
    assert outline(trace(), content=False) == under(
        "Outer.forward CHAIN OK",
        under(
            "Inner.forward CHAIN OK",
            under("mine UNKNOWN OK", predictor("Predict.forward LLM OK")),
        ),
    )


def test_a_module_can_update_its_trace(trace):
    class Tagging(dspy.Module):
        def forward(self):
            mlflow.update_current_trace(tags={"team": "bears"})
            mlflow.get_current_active_span().set_attribute("note", 1)
            return dspy.Prediction(answer="a")

    Tagging()()
    found = trace()
    assert found.info.tags["team"] == "bears"
    assert found.data.spans[0].attributes["note"] == 1


def test_nothing_is_recorded_while_mlflow_s_tracing_is_off_and_all_is_afterwards(trace):
    mlflow.tracing.disable()
    try:
        assert PREDICT(question="unseen").answer == "a"
    finally:
        mlflow.tracing.enable()
    PREDICT(question="q")
    assert outline(trace()) == ASKED


@pytest.mark.skipif(not hasattr(mlflow.environment_variables, "MLFLOW_TRACE_SAMPLING_RATIO"), reason="no sampling")
def test_a_call_that_is_sampled_out_leaves_nothing_behind(traces, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "0")
    mlflow.tracing.reset()
    PREDICT(question="unseen")
    monkeypatch.setenv("MLFLOW_TRACE_SAMPLING_RATIO", "1")
    mlflow.tracing.reset()
    PREDICT(question="q")
    assert list(map(outline, traces())) == [ASKED]


def test_a_trace_has_the_programs_that_a_span_of_the_user_spans(trace):
    with mlflow.start_span("mine"):
        for _ in range(2):
            PREDICT(question="q", lm=scripted_lm({"answer": "a"}))
    found = outline(trace())
    assert found.startswith("mine UNKNOWN OK None -> None\n")
    assert found.count("\n  Predict.forward LLM OK ") == 2

"""What a trace says of the program that made it."""

import time

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.programs.graph import mermaid_of
from tests.fakes.scripted import scripted_lm


def wait_for(holds, seconds=10):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.answer(question=question)


def test_it_names_the_class_and_the_release_of_dspy_and_draws_the_program(trace):
    program = QA()
    program(question="q")
    found = trace()
    assert found.info.trace_metadata["mlflow.dspy.program"] == "QA"
    assert found.info.trace_metadata["mlflow.dspy.version"] == dspy.__version__
    root, *others = found.data.spans
    assert root.attributes["dspy.program.graph"] == mermaid_of(program)
    assert all("dspy.program.graph" not in span.attributes for span in others)


def test_the_graph_follows_a_part_that_was_replaced(traces):
    program = QA()
    program(question="q")
    program.answer = dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=scripted_lm({"reasoning": "r", "answer": "a"})):
        program(question="q")
    graphs = sorted(found.data.spans[0].attributes["dspy.program.graph"] for found in traces())
    assert ["ChainOfThought" in graph for graph in graphs] == [True, False]


def test_the_first_program_of_a_trace_names_it(trace):
    with mlflow.start_span("mine"):
        QA()(question="q")
        dspy.Predict("question -> answer")(question="q")
    assert trace().info.trace_metadata["mlflow.dspy.program"] == "QA"


def test_a_predictor_tells_its_signature_its_instructions_and_how_many_demos_it_has(trace):
    signature = dspy.Signature("question -> answer", "Answer in one word.")
    predict = dspy.Predict(signature)
    predict.demos = [dspy.Example(question="q", answer="a")] * 3
    predict(question="q")
    attributes = trace().data.spans[0].attributes
    assert (attributes["signature"], attributes["instructions"]) == ("question -> answer", "Answer in one word.")
    assert attributes["demos"] == 3


@pytest.fixture
def two_models():
    """Two logged models, loaded: the later one is MLflow's active model."""
    infos = [mlflow.dspy.log_model(dspy.Predict("question -> answer"), name=name) for name in ("first", "second")]
    return {info.model_id: mlflow.dspy.load_model(info.model_uri) for info in infos}


def test_a_trace_is_linked_to_the_model_that_its_program_was_loaded_from(two_models, traces):
    for program in two_models.values():
        program(question="q")
    found = sorted(traces(), key=lambda trace: trace.info.request_time)
    assert [trace.info.trace_metadata["mlflow.modelId"] for trace in found] == list(two_models)


def test_the_active_model_that_the_user_has_set_comes_first(two_models, trace):
    first, second = two_models
    mlflow.set_active_model(model_id=first)
    two_models[second](question="q")
    assert trace().info.trace_metadata["mlflow.modelId"] == first


def test_a_program_that_was_not_loaded_is_linked_to_no_model(trace):
    QA()(question="q")
    assert "mlflow.modelId" not in trace().info.trace_metadata


def test_a_prompt_that_the_program_loads_is_linked_to_its_trace(trace):
    mlflow.genai.register_prompt("qa", "Answer {{question}}")

    class Prompted(dspy.Module):
        def forward(self, question):
            prompt = mlflow.genai.load_prompt("prompts:/qa/1")
            return dspy.Predict("question -> answer")(question=prompt.format(question=question))

    Prompted()(question="q")
    # MLflow links it in a thread of its own.
    wait_for(lambda: '"qa"' in trace().info.tags.get("mlflow.linkedPrompts", ""))

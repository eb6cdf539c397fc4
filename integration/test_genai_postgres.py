"""MLflow's GenAI tools once through, towards an `mlflow server` on PostgreSQL."""

import dspy
import mlflow
import mlflow.genai.datasets
import pandas as pd
import pytest
from mlflow.entities import AssessmentSource

from integration.conftest import CANARY_KEY
from mlflow_dspy_plugin.seams.mlflow import flush_traces
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

RIGHT = {"Who sails?": "Ann", "Who rows?": "Bob", "Who swims?": "Eve"}


@pytest.fixture(autouse=True)
def experiment(postgresql_server, request):
    """An experiment of the test's own, with traces on."""
    mlflow.set_experiment(request.node.name)
    mlflow.dspy.autolog()
    yield
    mlflow.dspy.autolog(disable=True)


@pytest.fixture
def program(monkeypatch):
    """A program whose language model says "Ann" to everything."""
    # Models are logged without their keys.
    monkeypatch.setenv("OPENAI_API_KEY", CANARY_KEY)
    program = dspy.Predict("question -> answer")
    with OpenAIServer({"ann": lambda messages, body: chat_text({"answer": "Ann"})}) as lm:
        program.set_lm(dspy.LM("openai/ann", api_base=lm.base_url, cache=False))
        yield program


@pytest.fixture
def examples():
    """Three questions with their right answers."""
    return [
        dspy.Example(question=question, answer=answer).with_inputs("question") for question, answer in RIGHT.items()
    ]


def right(example, prediction, trace=None):
    """Whether the answer is right."""
    return example.answer == prediction.answer


def test_datasets_come_back(examples):
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_dspy(examples, name="questions"))
    [given] = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert mlflow.data.get_source(given).load() == examples


def test_records_come_back(examples):
    made = mlflow.genai.datasets.create_dataset("questions")
    made.merge_records(mlflow.dspy.examples_to_records(examples))
    stored = mlflow.genai.datasets.get_dataset(dataset_id=made.dataset_id)
    assert {each.question: each for each in mlflow.dspy.examples_from_records(stored)} == {
        each.question: each for each in examples
    }


def test_prompts_come_back_and_belong_to_their_run(program):
    program.demos = [dspy.Example(question="Who {{sails}}?", answer="Ännchen\n🚣")]
    with mlflow.start_run() as run:
        [version] = mlflow.dspy.register_prompts(program, "rowers", alias="production").values()
    again = mlflow.dspy.load_prompts(dspy.Predict("question -> answer"), "prompts:/rowers@production")
    assert again.dump_state()["demos"] == program.dump_state()["demos"]
    assert version.name in str(mlflow.get_run(run.info.run_id).data.tags)


def test_what_people_correct_in_traces_is_learnt_from(program):
    asked = {question: mlflow.dspy.trace_id_of(program(question=question)) for question in RIGHT}
    flush_traces()
    ada = AssessmentSource(source_type="HUMAN", source_id="ada")
    for question, trace_id in asked.items():
        mlflow.log_expectation(trace_id=trace_id, name="answer", value=RIGHT[question], source=ada)
    learnt = mlflow.dspy.examples_from_traces()
    assert {each.question: each.answer for each in learnt} == RIGHT


def test_evaluations_come_to_the_same_score(program, examples):
    records = mlflow.dspy.examples_to_records(examples)
    by_mlflow = mlflow.genai.evaluate(data=records, predict_fn=program, scorers=[mlflow.dspy.scorer(right)])
    by_dspy = mlflow.models.evaluate(
        mlflow.dspy.log_model(program, name="ann").model_uri,
        pd.DataFrame([dict(each) for each in examples]),
        targets="answer",
        model_type="text",
        evaluators="dspy",
        evaluator_config={"metric": right},
    )
    assert by_mlflow.metrics["right/mean"] == pytest.approx(1 / 3)
    assert by_dspy.metrics["right"] == pytest.approx(100 / 3, abs=0.01)
    stored = mlflow.get_run(by_mlflow.run_id).data.metrics
    assert stored["right/mean"] == pytest.approx(1 / 3)

"""`mlflow.genai.evaluate` of a program, and of a logged model."""

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import InputError, ModelFolderError
from tests.fakes.scripted import scripted_lm
from tests.genai.conftest import ITEMS, right


class Awaited(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.Predict("question -> answer")

    async def aforward(self, question):
        return await self.answer.acall(question=question)


def logged(program, **options):
    return mlflow.dspy.log_model(program, name="qa", **options).model_uri


def evaluate(predict_fn, scorers=None, items=ITEMS):
    return mlflow.genai.evaluate(data=items, predict_fn=predict_fn, scorers=scorers or [mlflow.dspy.scorer(right)])


def said_of(trace):
    """What is said of a trace, by name."""
    return {
        each.name: each.feedback.value if each.feedback else each.expectation.value for each in trace.info.assessments
    }


@pytest.mark.parametrize("options", [None, {}, {"log_evals": True}, {"sampling_ratio": 0.0}], ids=str)
def test_a_program_is_a_predict_fn_and_its_traces_are_linked_and_scored(options, program, traces):
    if options is not None:
        mlflow.dspy.autolog(**options)
    else:
        # As before anybody has called it: the tests end by switching off, which MLflow heeds.
        mlflow.utils.autologging_utils.AUTOLOGGING_INTEGRATIONS.pop("dspy", None)
    result = evaluate(program)
    assert result.metrics == {"right/mean": 0.75}
    found = traces()
    assert len(found) == 4
    assert {trace.data.spans[0].name for trace in found} == {"Predict.forward"}
    assert sorted(said_of(trace)["right"] for trace in found) == [False, True, True, True]
    assert {trace.info.trace_metadata["mlflow.sourceRun"] for trace in found} == {result.run_id}
    [run] = mlflow.search_runs(output_format="list")
    assert run.info.run_id == result.run_id


def test_what_was_switched_on_before_is_on_after(program, traces):
    mlflow.dspy.autolog(log_evals=True)
    evaluate(program, items=ITEMS[:1])
    dspy.Evaluate(devset=[dspy.Example(question="1", answer="a").with_inputs("question")], metric=right)(program)
    assert len(mlflow.search_runs(output_format="list")) == 2
    assert len(traces()) == 2


def test_a_logged_model_is_evaluated_by_its_uri_under_its_own_settings(program, traces):
    uri = logged(program)
    dspy.configure(lm=scripted_lm({"answer": "of another LM"}))
    mlflow.dspy.autolog()
    assert evaluate(mlflow.dspy.to_predict_fn(uri)).metrics == {"right/mean": 0.75}
    assert {trace.info.trace_metadata["mlflow.modelId"] for trace in traces()} == {uri.rpartition("/")[2]}


def test_a_program_that_can_only_be_awaited_is_evaluated(traces):
    mlflow.dspy.autolog()
    assert evaluate(mlflow.dspy.to_predict_fn(Awaited())).metrics == {"right/mean": 0.75}
    assert {trace.data.spans[0].name for trace in traces()} == {"Awaited.forward"}


def test_without_autolog_mlflow_makes_the_traces(program, traces):
    mlflow.dspy.autolog(disable=True)
    assert evaluate(mlflow.dspy.to_predict_fn(program)).metrics == {"right/mean": 0.75}
    assert len(traces()) == 4


def test_a_metric_that_raises_costs_that_item_alone(program, traces):
    def choosy(example, prediction):
        if example.question == "2":
            raise ValueError("not this one")
        return right(example, prediction)

    mlflow.dspy.autolog()
    assert evaluate(program, [mlflow.dspy.scorer(choosy)]).metrics == {"choosy/mean": pytest.approx(2 / 3)}
    errors = [each.error for trace in traces() for each in trace.info.assessments if each.error is not None]
    assert [error.error_message for error in errors] == [
        "The metric choosy gave no score for the item with the inputs {'question': '2'}. ValueError: not this one"
    ]


def test_an_item_whose_program_raises_has_an_error_and_a_trace_that_tells_it(traces):
    class Picky(dspy.Module):
        def forward(self, question):
            if question == "2":
                raise ValueError("not this one")
            return dspy.Prediction(answer="a")

    mlflow.dspy.autolog()
    assert evaluate(Picky()).metrics == {"right/mean": pytest.approx(2 / 3)}
    [failed] = [trace for trace in traces() if trace.info.state == "ERROR"]
    assert failed.data.spans[0].inputs == {"question": "2"}
    [said] = [each.error.error_message for each in failed.info.assessments if each.error is not None]
    assert "for the item with the inputs {'question': '2'}. There is no output: the program failed" in said


def test_a_program_judges_another(program, traces):
    judge = dspy.Predict("question, answer, expected_answer -> correct: bool")
    judge.set_lm(scripted_lm({"correct": "True"}))
    mlflow.dspy.autolog()
    assert evaluate(program, [mlflow.dspy.judge(judge, "fair")]).metrics == {"fair/mean": 1.0}


def test_traces_are_scored_as_they_are(program, traces):
    mlflow.dspy.autolog()
    for item in ITEMS:
        program(**item["inputs"])
    for trace in traces():
        asked = trace.data.spans[0].inputs["question"]
        mlflow.log_expectation(trace_id=trace.info.trace_id, name="answer", value="a" if asked != "0" else "b")
    stored = mlflow.search_traces(return_type="list")
    data = mlflow.search_traces() if mlflow.__version__ == "3.4.0" else stored
    assert mlflow.genai.evaluate(data=data, scorers=[mlflow.dspy.scorer(right)]).metrics == {"right/mean": 0.75}


class TestToPredictFn:
    def test_a_served_chat_answers_as_it_is_served(self):
        chat = dspy.Predict("question -> answer")
        chat.lm = None
        predict_fn = mlflow.dspy.to_predict_fn(logged(chat, task="llm/v1/chat"))
        completion = predict_fn(messages=[{"role": "user", "content": "Which bear?"}])
        assert completion["choices"][0]["message"]["content"] == "a"

    def test_inputs_that_do_not_fit_are_named(self, program):
        with pytest.raises(InputError, match="unknown: topic; missing: question"):
            mlflow.dspy.to_predict_fn(program)(topic="bears")

    def test_what_is_no_model_is_refused(self):
        with pytest.raises(ModelFolderError, match="There is no model at"):
            mlflow.dspy.to_predict_fn("models:/nothing/1")

    def test_the_settings_of_the_process_stay(self, program, lm):
        mlflow.dspy.to_predict_fn(logged(program))
        assert dspy.settings.lm is lm

"""A DSPy program as a judge."""

import re

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import ScoringError
from tests.fakes.scripted import scripted_lm
from tests.genai.conftest import DEVSET, ITEMS


def judging(signature, **answer):
    program = dspy.Predict(signature)
    program.set_lm(scripted_lm(answer))
    return program


def requests_of(program):
    return str(program.lm.script.requests)


FAIR = "question, answer, expected_answer -> correct: bool, rationale"


def test_it_finds_its_inputs_in_the_item_and_gives_value_and_rationale():
    program = judging(FAIR, correct="False", rationale="Bears are brown.")
    feedback = mlflow.dspy.judge(program, "fair").run(
        inputs={"question": "Which bear?"}, outputs={"answer": "black"}, expectations={"answer": "brown"}
    )
    assert (feedback.name, feedback.value, feedback.rationale) == ("fair", False, "Bears are brown.")
    assert feedback.source.source_type == "LLM_JUDGE"
    assert all(word in requests_of(program) for word in ("Which bear?", "black", "brown"))


def test_whole_inputs_outputs_and_expectations_are_told_as_json():
    program = judging("inputs, outputs, expectations -> score: float", score="0.5")
    feedback = mlflow.dspy.judge(program, "fair").run(**ITEMS[0], outputs=dspy.Prediction(answer="a"))
    assert (feedback.value, feedback.rationale) == (0.5, None)
    assert '{"question": "0"}' in program.lm.script.requests[0][-1]["content"]


def test_a_module_of_the_users_judges():
    class Longest(dspy.Module):
        def forward(self, answer, limit: int = 3):
            return {"short": len(answer) < limit}

    assert mlflow.dspy.judge(Longest(), "short").run(**ITEMS[0], outputs={"answer": "a"}).value is True


def test_a_module_that_can_only_be_awaited_judges():
    class Awaited(dspy.Module):
        async def aforward(self, answer):
            return dspy.Prediction(good=answer == "a")

    assert mlflow.dspy.judge(Awaited(), "good").run(**ITEMS[0], outputs={"answer": "a"}).value is True


class Agrees(dspy.Module):
    """Finds an answer right that is the expected one, and tells what it saw."""

    def forward(self, question, answer, expected_answer):
        return {"agrees": answer == expected_answer, "rationale": f"{answer}, not {expected_answer}"}


def test_an_output_without_a_name_is_called_as_the_only_expectation():
    items = [{"inputs": {"question": "q"}, "expectations": {"answer": "Rome", "guidelines": ["Be kind."]}}]
    judge = mlflow.dspy.judge(Agrees(), "agrees")
    result = mlflow.genai.evaluate(data=items, predict_fn=lambda question: "Paris", scorers=[judge])
    assert result.metrics["agrees/mean"] == 0.0
    said = judge.run(**items[0], outputs="Paris")
    assert (said.value, said.rationale) == (False, "Paris, not Rome")


@pytest.mark.parametrize("outputs", [{"reply": "Paris"}, {"reply": "Paris", "sure": True}], ids=str)
def test_what_is_expected_is_never_taken_for_the_answer(outputs):
    judge = mlflow.dspy.judge(Agrees(), "agrees")
    said = judge.run(inputs={"question": "q"}, outputs=outputs, expectations={"answer": "Rome"})
    assert said.value is None
    assert "It takes answer, and the item has" in said.error.error_message
    example = dspy.Example(question="q", answer="Rome").with_inputs("question")
    with pytest.raises(ScoringError, match="It takes answer, and the item has"):
        mlflow.dspy.metric(judge)(example, dspy.Prediction(**outputs))


@pytest.mark.parametrize("outputs", ["Paris", {"answer": "Paris"}], ids=str)
@pytest.mark.parametrize("name", ["guidelines", "ground_truth", "expected_response", "expected_tone"])
def test_an_expectation_with_a_name_of_no_output_is_found_by_it(name, outputs):
    program = judging(f"outputs, {name} -> good: bool", good="True")
    said = mlflow.dspy.judge(program, "good").run(inputs={}, outputs=outputs, expectations={name: "the truth"})
    assert said.value is True
    assert "the truth" in requests_of(program) and "Paris" in requests_of(program)


def test_which_output_is_what_can_be_said():
    program = judging("answer -> grade: int, remark, mood", grade="2", remark="Hm.", mood="sad")
    said = mlflow.dspy.judge(program, "graded", value="grade", rationale="remark").run(outputs={"answer": "a"})
    assert (said.value, said.rationale) == (2, "Hm.")


@pytest.mark.parametrize(
    ("signature", "options", "outputs", "said"),
    [
        ("answer -> one, two", {}, {"answer": "a"}, "Which of its outputs .* is the judgement"),
        ("answer -> one, two", {"value": "three"}, {"answer": "a"}, "It has no output three"),
        ("answer, topic -> one", {}, {"answer": "a"}, "It takes topic, and the item has"),
        ("answer -> one", {}, None, "There is no output"),
    ],
)
def test_what_it_cannot_judge_is_an_error_that_names_the_item(signature, options, outputs, said):
    program = judging(signature, one="1", two="2")
    feedback = mlflow.dspy.judge(program, "fair", **options).run(**ITEMS[1], outputs=outputs)
    assert feedback.value is None
    assert re.search(said, feedback.error.error_message)
    assert "judge fair gave no score for the item with the inputs {'question': '1'}" in feedback.error.error_message


def test_it_is_a_metric_too(program):
    judge = mlflow.dspy.judge(judging(FAIR, correct="True", rationale="So it is."), "fair")
    result = dspy.Evaluate(devset=DEVSET, metric=mlflow.dspy.metric(judge))(program)
    assert (result.score, result.results[0][2].feedback) == (100.0, "So it is.")


def test_what_is_no_program_is_refused():
    with pytest.raises(ScoringError, match="got a str. Give a DSPy program"):
        mlflow.dspy.judge("question -> answer", "fair")

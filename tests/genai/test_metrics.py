"""A scorer or judge of MLflow's as a DSPy metric."""

import dspy
import mlflow
import pytest
from mlflow.entities import AssessmentError, Feedback
from mlflow.genai.judges import CategoricalRating
from mlflow.genai.scorers import scorer

from mlflow_dspy_plugin.errors import ScoringError
from tests.fakes.scripted import scripted_lm
from tests.genai.conftest import DEVSET


@scorer
def same(outputs, expectations):
    right = outputs["answer"] == expectations["answer"]
    return Feedback(value=right, rationale="It is." if right else f"It should be {expectations['answer']}.")


def saying(value):
    @scorer
    def said(outputs):
        return value

    return said


def evaluate(metric, program, **options):
    return dspy.Evaluate(devset=DEVSET, metric=metric, num_threads=2, **options)(program)


def test_evaluate_counts_it_and_its_rationale_is_the_feedback(program):
    result = evaluate(mlflow.dspy.metric(same), program)
    assert result.score == 75.0
    assert [(score.score, score.feedback) for _, _, score in result.results] == [
        (0.0, "It should be b."),
        *[(1.0, "It is.")] * 3,
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1.0),
        (0.25, 0.25),
        ("yes", 1.0),
        ("No", 0.0),
        (CategoricalRating.YES, 1.0),
        (Feedback(value=3), 3.0),
        ([Feedback(name="one", value=True), Feedback(name="two", value=False)], 0.5),
    ],
    ids=str,
)
def test_what_judges_say_is_a_number(value, number):
    verdict = mlflow.dspy.metric(saying(value))(DEVSET[0], dspy.Prediction(answer="a"))
    assert float(verdict) == verdict.score == number
    assert bool(verdict) is bool(number)


def test_the_rationales_of_several_judgements_are_told_apart():
    said = [Feedback(name="one", value=1, rationale="Good."), Feedback(name="two", value=0, rationale="Bad.")]
    assert mlflow.dspy.metric(saying(said))(DEVSET[0], dspy.Prediction()).feedback == "one: Good.\ntwo: Bad."


@pytest.mark.parametrize("score", [{"great": 1.0, "poor": 0.2}, lambda value: 0.2 if value == "poor" else 1.0])
def test_another_scale_is_a_dict_or_a_function(score):
    assert mlflow.dspy.metric(saying("poor"), score=score)(DEVSET[0], dspy.Prediction()).score == 0.2


def raising():
    @scorer
    def raises(outputs):
        raise ValueError("out of order")

    return raises


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (raising(), "ValueError: out of order"),
        (saying(None), "It said None, which is no number"),
        (saying("poor"), "It said 'poor', which is no number. Give metric"),
        (saying([]), "It said nothing"),
        (saying(Feedback(error=AssessmentError(error_code="X", error_message="no quota"))), "no quota"),
    ],
)
def test_an_example_that_it_cannot_judge_is_named(judge, said):
    with pytest.raises(ScoringError, match=said) as raised:
        mlflow.dspy.metric(judge)(DEVSET[2], dspy.Prediction(answer="a"))
    assert "gave no score for the item with the inputs {'question': '2'}" in raised.value.message


def test_evaluate_goes_on_and_counts_what_it_cannot_judge(program):
    @scorer
    def choosy(inputs):
        if inputs["question"] == "1":
            raise ValueError("not this one")
        return True

    assert evaluate(mlflow.dspy.metric(choosy), program, max_errors=10).score == 75.0


def test_fields_get_the_names_that_a_scorer_expects():
    @scorer
    def expects(expectations):
        return expectations["expected_response"] == expectations["answer"]

    judged = mlflow.dspy.metric(expects, expectations={"expected_response": "answer"})
    assert judged(DEVSET[0], dspy.Prediction()).score == 1.0
    with pytest.raises(ScoringError, match="no reply beside its inputs"):
        mlflow.dspy.metric(expects, expectations={"expected_response": "reply"})(DEVSET[0], dspy.Prediction())


def test_the_name_is_the_scorers():
    assert mlflow.dspy.metric(same).__name__ == "same"
    assert mlflow.dspy.metric(same, name="mine").__name__ == "mine"


def test_what_is_no_scorer_is_refused():
    with pytest.raises(ScoringError, match="got a function. Give an MLflow scorer or judge"):
        mlflow.dspy.metric(test_the_name_is_the_scorers)


def test_gepa_reflects_on_the_rationale(program):
    reflection = scripted_lm("```\nAnswer in capitals.\n```")
    optimizer = dspy.GEPA(metric=mlflow.dspy.metric(same), max_metric_calls=20, reflection_lm=reflection)
    assert isinstance(optimizer.compile(program, trainset=DEVSET[:1]), dspy.Module)
    assert any("It should be b." in str(request) for request in reflection.script.requests)


def test_a_demo_that_is_judged_wrong_is_not_bootstrapped(program):
    compiled = dspy.BootstrapFewShot(metric=mlflow.dspy.metric(same), max_labeled_demos=0).compile(
        program, trainset=DEVSET
    )
    assert [demo.question for demo in compiled.demos] == ["1", "2", "3"]


def test_simba_takes_it(program):
    optimizer = dspy.SIMBA(metric=mlflow.dspy.metric(same), max_steps=1, bsize=4, num_candidates=2, num_threads=1)
    assert isinstance(optimizer.compile(program, trainset=DEVSET, seed=1), dspy.Module)


@scorer
def told(trace):
    return Feedback(value=trace is not None, rationale=None if trace is None else trace.data.spans[0].name)


@pytest.mark.parametrize("options", [{}, {"log_evals": True}], ids=str)
def test_a_scorer_that_takes_a_trace_gets_that_of_the_prediction(options, program):
    mlflow.dspy.autolog(**options)
    result = evaluate(mlflow.dspy.metric(told), program)
    assert result.score == 100.0
    assert {score.feedback for _, _, score in result.results} == {"Predict.forward"}


def test_a_scorer_that_needs_a_trace_says_where_there_is_none(program):
    mlflow.dspy.autolog(disable=True)
    with pytest.raises(ScoringError, match=r"needs the trace of the answer.* Call mlflow.dspy.autolog\(\) first"):
        mlflow.dspy.metric(told)(DEVSET[0], program(question="0"))


def test_a_judge_that_may_read_a_trace_is_asked_without_one(program):
    @scorer
    def glancing(outputs, trace=None):
        return trace is None

    assert evaluate(mlflow.dspy.metric(glancing), program).score == 100.0

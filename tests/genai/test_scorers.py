"""A DSPy metric as a scorer of MLflow's."""

import dspy
import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.genai.scorers import Scorer

from mlflow_dspy_plugin.errors import ScoringError
from tests.genai.conftest import ITEMS, right

SECRET = "-".join(["sk", "that", "must", "not", "be", "stored", "1234567890abcdef"])


def gepa_metric(gold, pred, trace, pred_name, pred_trace):
    assert (trace, pred_name, pred_trace) == (None, None, None)
    return dspy.Prediction(score=0.5, feedback="Nearly.")


class Nearly:
    def __call__(self, example, prediction):
        return 0.5


class NearlyModule(dspy.Module):
    def forward(self, example, pred, trace=None):
        return 0.5


def ask(metric, item=ITEMS[1], outputs=None, **options):
    return mlflow.dspy.scorer(metric, **options).run(**item, outputs={"answer": "a"} if outputs is None else outputs)


@pytest.mark.parametrize(
    ("metric", "value", "rationale"),
    [
        (right, True, None),
        (lambda example, prediction: 1, 1, None),
        (gepa_metric, 0.5, "Nearly."),
        (Nearly(), 0.5, None),
        (NearlyModule(), 0.5, None),
        (lambda example, prediction: "good", "good", None),
    ],
    ids=["function", "lambda", "GEPA's", "object", "module", "text"],
)
def test_every_kind_of_metric_gives_its_score_and_its_feedback(metric, value, rationale):
    feedback = ask(metric)
    assert (feedback.value, feedback.rationale, feedback.error) == (value, rationale, None)
    assert feedback.source.source_type == "CODE"


@pytest.mark.parametrize(
    ("metric", "name"), [(right, "right"), (Nearly(), "Nearly"), (NearlyModule(), "NearlyModule")], ids=str
)
def test_it_is_called_as_the_metric_is_unless_it_is_given_a_name(metric, name):
    assert isinstance(mlflow.dspy.scorer(metric), Scorer)
    assert ask(metric).name == mlflow.dspy.scorer(metric).name == name
    assert ask(metric, name="mine").name == "mine"


def test_the_metric_sees_inputs_and_expectations_as_one_example():
    seen = []

    def metric(example, prediction):
        seen.append((dict(example.inputs()), dict(example.labels()), dict(prediction)))
        return True

    ask(metric)
    assert seen == [({"question": "1"}, {"answer": "a"}, {"answer": "a"})]


@pytest.mark.parametrize(
    "outputs", [{"base": "o"}, dspy.Prediction({"base": "o"}), "o"], ids=["dict", "prediction", "text"]
)
def test_fields_may_be_called_as_an_argument_of_dspys_own_classes(outputs):
    seen = []
    item = {"inputs": {"question": "q"}, "expectations": {"base": "e"}}
    ask(lambda example, prediction: seen.append((dict(example), dict(prediction))) or True, item, outputs)
    assert seen == [({"question": "q", "base": "e"}, {"base": "o"})]


@pytest.mark.parametrize(
    "outputs", [dspy.Prediction(answer="a"), {"answer": "a"}, "a"], ids=["prediction", "dict", "text"]
)
def test_an_output_is_a_prediction_a_dict_or_the_value_of_the_only_expectation(outputs):
    assert ask(right, outputs=outputs).value is True


def test_an_object_in_a_prediction_stays_what_it_is():
    assert ask(lambda example, prediction: prediction.thing == {1}, outputs=dspy.Prediction(thing={1})).value is True


def raising(example, prediction):
    raise ValueError(f"no such thing: {SECRET}")


@pytest.mark.parametrize(
    ("metric", "item", "outputs", "said"),
    [
        (raising, ITEMS[1], "a", "ValueError: no such thing"),
        (lambda example, prediction: None, ITEMS[1], "a", "returned None, which is no score"),
        (lambda example, prediction: float("nan"), ITEMS[1], "a", "returned nan, which is no score"),
        (right, {"inputs": {"question": "1"}, "expectations": {}}, "a", "a bare value"),
        (right, {"inputs": {"answer": "1"}, "expectations": {"answer": "a"}}, "a", "answer is both an input and"),
        (right, {"inputs": {"question": "1"}, "expectations": "a"}, "a", "expectations are no dict"),
    ],
)
def test_an_item_without_a_score_has_an_error_that_names_it_and_tells_no_secret(metric, item, outputs, said):
    feedback = ask(metric, item, outputs, name="mine")
    assert feedback.value is None
    assert said in feedback.error.error_message
    assert "metric mine gave no score for the item with the inputs" in feedback.error.error_message
    assert str(item["inputs"]) in feedback.error.error_message
    assert SECRET not in str(feedback.to_dictionary())


def test_a_program_that_failed_has_no_output_to_score():
    feedback = mlflow.dspy.scorer(right).run(**ITEMS[1], outputs=None)
    assert "There is no output" in feedback.error.error_message


def test_an_interrupt_is_not_taken_for_the_metrics_failure():
    def interrupted(example, prediction):
        raise KeyboardInterrupt

    scorer = mlflow.dspy.scorer(interrupted)
    with pytest.raises(KeyboardInterrupt, match="^$"):
        scorer(**ITEMS[1], outputs={"answer": "a"})


def test_what_is_no_metric_is_refused():
    with pytest.raises(ScoringError, match="got a str. Give a DSPy metric"):
        mlflow.dspy.scorer("right")


def test_it_cannot_be_registered_which_mlflow_says():
    with pytest.raises(MlflowException, match="must be a builtin or decorator scorer"):
        mlflow.dspy.scorer(right).register()


def test_metrics_of_one_name_have_definitions_of_their_own():
    scorers = [mlflow.dspy.scorer(metric, name="mine") for metric in (right, raising, Nearly())]
    assert len({each.definition for each in scorers}) == 3

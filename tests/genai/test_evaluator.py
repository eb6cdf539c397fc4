"""`mlflow.models.evaluate(..., evaluators="dspy")`: DSPy's Evaluate over a logged model."""

import dspy
import mlflow
import pandas as pd
import pytest
from mlflow.entities import Feedback
from mlflow.exceptions import MlflowException
from mlflow.genai.scorers import scorer

from mlflow_dspy_plugin.entry_points.evaluator import DspyEvaluator
from mlflow_dspy_plugin.errors import InputError, ScoringError
from tests.genai.conftest import DEVSET, right
from tests.tracking.conftest import Kept

TABLE = pd.DataFrame({"question": [str(number) for number in range(4)], "answer": ["b", "a", "a", "a"]})


@pytest.fixture
def uri(program):
    return mlflow.dspy.log_model(program, name="qa").model_uri


def evaluate(model, data=TABLE, targets="answer", model_type="text", metric=right, **config):
    return mlflow.models.evaluate(
        model,
        data,
        targets=targets,
        model_type=model_type,
        evaluators="dspy",
        evaluator_config={"metric": metric, **config},
    )


def the_run():
    [run] = mlflow.search_runs(output_format="list")
    return Kept(run)


def test_it_scores_as_dspys_evaluate_does_and_logs_metrics_and_a_table(uri, program):
    expected = dspy.Evaluate(devset=DEVSET, metric=right)(program).score
    result = evaluate(uri, num_threads=3)
    assert result.metrics == {
        "right": expected,
        "right/mean": 0.75,
        "right/variance": 0.1875,
        "right/p90": 1.0,
        "rows": 4,
        "failures": 0,
    }
    run = the_run()
    assert run.metrics == result.metrics
    assert (run.status, run.files) == ("FINISHED", ["eval_results_table.json"])
    rows = run.rows("eval_results_table.json")
    assert [(row["question"], row["answer"], row["outputs"], row["right/score"]) for row in rows] == [
        ("0", "b", {"answer": "a"}, False),
        *[(str(number), "a", {"answer": "a"}, True) for number in (1, 2, 3)],
    ]
    assert list(result.artifacts) == ["eval_results_table"]
    assert result.artifacts["eval_results_table"].content["columns"] == list(rows[0])


def test_the_metrics_belong_to_the_model_and_to_the_dataset(uri):
    evaluate(uri)
    model = mlflow.get_logged_model(uri.rpartition("/")[2])
    assert {metric.key: metric.value for metric in model.metrics}["right"] == 75.0
    [used] = mlflow.get_run(the_run().info.run_id).inputs.dataset_inputs
    assert {metric.dataset_digest for metric in model.metrics} == {used.dataset.digest}


@pytest.mark.parametrize("options", [{}, {"log_evals": True, "log_compiles": True}], ids=str)
def test_its_traces_belong_to_the_run_and_have_the_score(options, uri, traces):
    mlflow.dspy.autolog(**options)
    evaluate(uri)
    run = the_run()
    found = traces()
    assert len(found) == 4
    assert {trace.info.trace_metadata.get("mlflow.sourceRun") for trace in found} == {run.info.run_id}
    said = [{each.name: each.feedback.value for each in trace.info.assessments if each.feedback} for trace in found]
    assert sorted(each["right"] for each in said) == [False, True, True, True]
    table = run.rows("eval_results_table.json")
    assert {row["trace_id"] for row in table} == {trace.info.trace_id for trace in found}


def test_it_works_where_autologging_is_off(uri, traces):
    mlflow.dspy.autolog(disable=True)
    assert evaluate(uri).metrics["right"] == 75.0
    assert traces() == []


def test_a_loaded_model_is_evaluated_too(uri):
    assert evaluate(mlflow.pyfunc.load_model(uri)).metrics["right"] == 75.0


def test_a_program_that_can_only_be_awaited_is_evaluated():
    class Awaited(dspy.Module):
        def __init__(self):
            super().__init__()
            self.answer = dspy.Predict("question -> answer")

        async def aforward(self, question: str):
            return await self.answer.acall(question=question)

    assert evaluate(mlflow.dspy.log_model(Awaited(), name="qa").model_uri).metrics["right"] == 75.0


def test_rows_that_fail_are_counted_and_the_others_scored(uri):
    def choosy(example, prediction):
        if example.question == "1":
            raise ValueError("not this one")
        return right(example, prediction)

    metrics = evaluate(uri, metric=choosy, max_errors=10).metrics
    assert (metrics["choosy"], metrics["rows"], metrics["failures"]) == (50.0, 4, 1)
    assert metrics["choosy/mean"] == pytest.approx(2 / 3)
    table = the_run().rows("eval_results_table.json")
    assert [row["error"] for row in table] == [None, "ValueError: not this one", None, None]


def test_a_scorer_is_a_metric_and_its_rationale_is_in_the_table(uri):
    @scorer
    def same(outputs, expectations):
        return Feedback(value=outputs["answer"] == expectations["answer"], rationale="I looked.")

    assert evaluate(uri, metric=same).metrics["same"] == 75.0
    assert {row["same/justification"] for row in the_run().rows("eval_results_table.json")} == {"I looked."}


def test_rows_that_a_scorer_cannot_score_are_counted_and_named(uri):
    @scorer
    def choosy(inputs):
        if inputs["question"] == "1":
            raise ValueError("not this one")
        return True

    metrics = evaluate(uri, metric=choosy, max_errors=10).metrics
    assert (metrics["choosy/mean"], metrics["rows"], metrics["failures"]) == (1.0, 4, 1)
    [error] = [row["error"] for row in the_run().rows("eval_results_table.json") if row["error"] is not None]
    assert "scorer choosy gave no score for the item with the inputs {'question': '1'}. ValueError" in error


def test_an_evaluation_with_too_many_failures_ends_and_its_run_has_failed(uri):
    def never(example, prediction):
        raise ValueError("not this one")

    with pytest.raises(Exception, match="cancelled"):
        evaluate(uri, metric=never, max_errors=1, num_threads=1)
    assert the_run().status == "FAILED"


def test_other_columns_are_for_the_metric_and_columns_can_have_other_names(uri):
    data = TABLE.rename(columns={"question": "asked"}).assign(weight=[1, 2, 3, 4])

    def weighty(example, prediction):
        return example.weight / 4

    assert evaluate(uri, data, metric=weighty, col_mapping={"question": "asked"}).metrics["weighty/mean"] == 0.625


def test_a_column_may_be_called_as_an_argument_of_dspys_own_classes(uri):
    def based(example, prediction):
        return example.base / 4

    assert evaluate(uri, TABLE.assign(base=[1, 2, 3, 4]), metric=based).metrics["based/mean"] == 0.625


def test_targets_without_a_name_are_the_target(uri):
    def hit(example, prediction):
        return example.target == prediction.answer

    data = TABLE[["question"]].to_numpy()
    assert evaluate(uri, data, targets=TABLE["answer"].to_numpy(), metric=hit).metrics["hit"] == 75.0


def test_a_prefix_stands_before_metrics_and_table(uri):
    assert set(evaluate(uri, metric_prefix="dev_").metrics) > {"dev_right", "dev_rows"}
    assert the_run().files == ["dev_eval_results_table.json"]


def test_a_run_of_the_users_is_used(uri):
    with mlflow.start_run(run_name="mine"):
        evaluate(uri)
    assert (the_run().name, the_run().metrics["right"]) == ("mine", 75.0)


def test_a_row_that_does_not_fit_is_named(uri):
    with pytest.raises(InputError, match=r"Row 0: .*missing: question"):
        evaluate(uri, TABLE.rename(columns={"question": "asked"}))


@pytest.mark.parametrize(
    ("config", "said"), [({"threads": 3}, "has threads. The evaluator dspy takes metric"), ({"metric": 3}, "is a int")]
)
def test_a_configuration_that_means_nothing_is_refused(config, said, uri):
    with pytest.raises(ScoringError, match=said):
        evaluate(uri, **config)


class TestStandingBack:
    def test_it_is_registered_under_its_name(self):
        assert "dspy" in mlflow.models.list_evaluators()

    def test_it_leaves_models_to_others_where_nobody_has_asked_for_it(self):
        data = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 4.0]})
        result = mlflow.models.evaluate(
            lambda table: table["x"],
            data,
            targets="y",
            model_type="regressor",
            evaluator_config={"log_explainer": False},
        )
        assert "mean_squared_error" in result.metrics
        assert not {"rows", "failures"} & set(result.metrics)

    @pytest.mark.parametrize("config", [None, {}, {"metric_prefix": "x"}])
    def test_without_a_metric_it_was_not_asked_for(self, config):
        assert not DspyEvaluator.can_evaluate(model_type="text", evaluator_config=config)

    def test_switched_off_it_evaluates_nothing(self, monkeypatch):
        monkeypatch.setenv("MLFLOW_DSPY_PLUGIN", "false")
        assert not DspyEvaluator.can_evaluate(model_type="text", evaluator_config={"metric": right})

    def test_what_is_no_dspy_model_is_left_out_with_a_warning(self, caplog):
        with pytest.raises(MlflowException, match="could not be evaluated by any"):
            evaluate(lambda table: table["question"])
        assert "no DSPy model" in caplog.text

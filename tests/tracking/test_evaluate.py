"""An evaluation is in a run, and returns what it returns without."""

import functools

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.tracking.feedback import metric_name

DEVSET = [dspy.Example(question=str(i), answer="a" if i else "b").with_inputs("question") for i in range(4)]
PREDICT = dspy.Predict("question -> answer")


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


def raising(example, prediction, trace=None):
    if example.question == "1":
        raise ValueError("the metric's own")
    return right(example, prediction)


class Judge:
    def __call__(self, example, prediction, trace=None):
        return 0.5


METRICS = {
    "function": (right, 75.0),
    "lambda": (lambda example, prediction: 1.0, 100.0),
    "partial": (functools.partial(right, trace=None), 75.0),
    "class": (Judge(), 50.0),
    "raises on a row": (raising, 50.0),
    "feedback": (lambda e, p: dspy.Prediction(score=0.25, feedback="meh"), 25.0),
}


def evaluate(metric=right, **kwargs):
    evaluator = dspy.Evaluate(devset=DEVSET, metric=metric, num_threads=2, max_errors=100)
    return evaluator(PREDICT, **kwargs)


def content(result):
    return result.score, [(dict(e), dict(p), float(score)) for e, p, score in result.results]


@pytest.mark.parametrize(("metric", "score"), METRICS.values(), ids=METRICS)
def test_the_result_is_the_same_as_without_and_is_logged(metric, score, runs):
    mlflow.dspy.autolog(disable=True)
    plain = evaluate(metric)
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    assert content(evaluate(metric)) == content(plain)
    assert plain.score == score
    [run] = runs()
    # After its metric: among runs that are all called "eval" nobody finds one.
    assert (run.name, run.status, run.metrics["eval"]) == (f"eval {metric_name(metric)}", "FINISHED", score)
    assert run.files == ["model.json", "result_table.json", "rows.json"]
    assert len(run.rows("result_table.json")) == len(DEVSET)


def test_the_run_of_an_evaluation_holds_its_program_and_lm(runs):
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    evaluate()
    [run] = runs()
    assert run.load("model.json")["signature"] == PREDICT.dump_state()["signature"]
    assert run.params["Predict.signature.fields.0.prefix"] == "Question:"
    assert '"model": "scripted/model"' in run.params["lm_params"]


def test_a_run_of_the_user_is_used_again_and_again_and_stays_open(runs):
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    with mlflow.start_run(run_name="mine"):
        for metric in (right, Judge(), right):
            evaluate(metric)
        assert mlflow.active_run() is not None
    [run] = runs()
    assert (run.name, run.status) == ("mine", "FINISHED")
    assert [value for _, value in run.history("eval")] == [75.0, 50.0, 75.0]


@pytest.mark.parametrize(
    ("metadata", "names"),
    [({"metric_key": "dev"}, ["dev right"]), ({"disable_logging": True}, []), ({}, ["eval right"])],
)
def test_what_an_optimizer_says_of_an_evaluation_is_heeded(metadata, names, runs):
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    evaluate(callback_metadata=metadata)
    assert [run.name for run in runs()] == names


def test_an_evaluation_that_fails_leaves_a_failed_run_and_its_own_error(runs):
    def hopeless(example, prediction):
        return "not a number"

    mlflow.dspy.autolog(disable=True)
    with pytest.raises(TypeError, match="unsupported operand") as plain:
        evaluate(hopeless)
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    with pytest.raises(TypeError, match="unsupported operand") as raised:
        evaluate(hopeless)
    assert str(raised.value) == str(plain.value)
    [run] = runs()
    assert run.status == "FAILED"
    assert "eval" not in run.metrics


def test_an_interrupted_evaluation_leaves_no_run_behind(runs):
    class Interrupted(dspy.Evaluate):
        def _construct_result_table(self, *args):
            raise KeyboardInterrupt

    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    with pytest.raises(KeyboardInterrupt, match="^$"):
        Interrupted(devset=DEVSET, metric=right, display_table=True)(PREDICT)
    assert [run.status for run in runs()] == ["KILLED"]


def test_predictions_that_no_table_can_hold_are_written_as_text(runs):
    class Odd(dspy.Module):
        def forward(self, question):
            return dspy.Prediction(answer="a", thing={1, 2}, nothing=None, data=b"x")

    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    result = dspy.Evaluate(devset=DEVSET[:1], metric=right, num_threads=1)(Odd())
    assert result.results[0][1].thing == {1, 2}
    [run] = runs()
    [row] = run.rows("result_table.json")
    assert (row["pred_thing"], row["pred_nothing"], row["pred_data"]) == ([1, 2], None, "b'x'")


@pytest.mark.parametrize("options", [{}, {"log_compiles": True}, {"log_evals": True, "disable": True}], ids=str)
def test_it_is_off_unless_asked_for(options, runs):
    mlflow.dspy.autolog(**options)
    evaluate()
    assert runs() == []


def test_switching_off_in_the_middle_ends_the_run(runs):
    def metric(example, prediction):
        mlflow.dspy.autolog(disable=True)
        return 1.0

    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    assert evaluate(metric).score == 100.0
    assert [run.status for run in runs()] == ["FINISHED"]

"""MLflow's evaluations of a DSPy program on Reuters R8, towards an MLflow server, and as its UI shows them."""

import inspect

import mlflow
import pytest

WHICH = ("program", "model", "dspy")
# Newer releases call it otherwise.
WHERE = next(
    name for name in ("locations", "experiment_ids") if name in inspect.signature(mlflow.search_traces).parameters
)


@pytest.fixture(scope="module")
def evaluated(run_program, lm_server, reuters):
    """What the program left: scores and runs."""
    return run_program("genai_evaluation", LM_URL=lm_server, REUTERS=reuters).result


def traces_of(evaluated, tracking_server, which):
    experiment = tracking_server.client.get_experiment_by_name("Evaluated")
    mlflow.set_tracking_uri(tracking_server.uri)
    return mlflow.search_traces(
        **{WHERE: [experiment.experiment_id]}, run_id=evaluated[which]["run_id"], return_type="list"
    )


@pytest.mark.parametrize("which", ["program", "model"])
def test_mlflow_comes_to_the_score_that_dspy_comes_to(evaluated, which):
    metrics = evaluated[which]["metrics"]
    assert 0 < evaluated["score"] < 100
    assert metrics["right_label/mean"] == pytest.approx(evaluated["score"] / 100)
    assert metrics["close/mean"] >= metrics["right_label/mean"]


def test_the_evaluator_comes_to_it_too(evaluated):
    assert evaluated["dspy"]["metrics"]["right_label"] == evaluated["score"]
    assert evaluated["dspy"]["metrics"]["rows"] == evaluated["rows"]


@pytest.mark.parametrize("which", WHICH)
def test_every_item_has_one_trace_in_the_run_with_its_score(evaluated, tracking_server, which):
    traces = traces_of(evaluated, tracking_server, which)
    assert len(traces) == evaluated["rows"]
    said = [each for trace in traces for each in trace.info.assessments if each.name == "right_label"]
    assert len(said) == evaluated["rows"]
    assert sum(each.feedback.value for each in said) == pytest.approx(evaluated["score"] / 100 * evaluated["rows"])
    assert all(each.rationale.startswith("The right label is ") for each in said)
    assert all(trace.search_spans(name="LM.__call__") for trace in traces)


def test_the_traces_of_a_logged_model_belong_to_it(evaluated, tracking_server):
    traces = traces_of(evaluated, tracking_server, "model")
    assert {trace.info.trace_metadata.get("mlflow.modelId") for trace in traces} == {evaluated["model_id"]}


def test_each_evaluation_is_one_run(evaluated, tracking_server):
    runs = tracking_server.runs("Evaluated")
    assert sorted(run.info.run_id for run in runs) == sorted(evaluated[which]["run_id"] for which in WHICH)


@pytest.mark.skipif(not hasattr(mlflow.tracing, "context"), reason="the page of this release of MLflow is another one")
def test_the_evaluation_page_shows_each_item_with_what_was_expected_and_scored(
    evaluated, tracking_server, browser, screenshots
):
    wrong = next(
        trace
        for trace in traces_of(evaluated, tracking_server, "program")
        if any(each.name == "close" and not each.value for each in trace.info.assessments)
    )
    run = f"experiments/{wrong.info.experiment_id}/runs/{evaluated['program']['run_id']}"
    page = f"{tracking_server.uri}/#/{run}/evaluations"
    rows = evaluated["rows"]
    browser.open(page)
    browser.wait_for("right_label", "close", f"{rows} of {rows}", wrong.info.trace_id)
    browser.close_assistant()
    browser.screenshot(screenshots / "evaluation.png")
    browser.open(f"{page}?selectedEvaluationId={wrong.info.trace_id}")
    browser.click("Assess trace (3 assessments)")
    browser.wait_for("Feedback (2)", "Expectations (1)", "close\nFalse")

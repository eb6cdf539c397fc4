"""The report of an optimization in MLflow's UI, in a real browser."""

import json
from pathlib import Path

import mlflow
import pytest

from mlflow_dspy_plugin.names import OPTIMIZATION_FILE

pytestmark = pytest.mark.skipif(
    not hasattr(mlflow.tracing, "context"), reason="the run page of this release of MLflow is another one"
)


@pytest.fixture(scope="module")
def run(run_program, tracking_server):
    """The run of an optimization."""
    run_program("optimized_classifier")
    [found] = [run for run in tracking_server.runs("Optimized") if "mlflow.parentRunId" not in run.data.tags]
    return found


@pytest.fixture(scope="module")
def record(run, tracking_server):
    """Its record."""
    path = tracking_server.client.download_artifacts(run.info.run_id, OPTIMIZATION_FILE)
    return json.loads(Path(path).read_text())


def test_the_artifact_view_shows_what_the_record_says(browser, tracking_server, run, record, screenshots):
    page = f"{tracking_server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/report.html"
    browser.open(page)
    browser.wait_for("report.html")
    browser.wait_for_framed("Learning curve", "What changed in the program", "Examples won and lost")
    shown = browser.framed_text
    assert f"GEPA improved TextClassifier from {record['baseline']:g}% to {record['best_score']:g}%" in shown
    assert f"{sum(each['calls'] for each in record['usage'].values()):,}" in shown
    browser.screenshot(screenshots / "report.png")


def test_the_run_page_draws_the_learning_curve(browser, tracking_server, run):
    browser.open(f"{tracking_server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    browser.wait_for("best_score", "llm_calls", "tokens")

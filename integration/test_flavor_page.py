"""The examples of the pages of MLflow's DSPy flavor: packaging, optimizers and tracing."""

import ast
import json

import pytest

from integration.conftest import CANARY_KEY

CHAIN_OF_THOUGHT = [("reasoning", str), ("answer", str)]
CANDIDATES = 5
TRAINING_EXAMPLES, TEST_EXAMPLES = 8, 8


# -- the flavor's page ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flavor_page(run_program, lm_server):
    """The ChainOfThought example, run to its end."""
    return run_program("flavor_page", LM_URL=lm_server)


@pytest.fixture(scope="module")
def printed_dicts(flavor_page):
    """What it printed: a prediction, then the chunks of another."""
    return [ast.literal_eval(line) for line in flavor_page.printed.splitlines() if line.startswith("{")]


def test_the_bear_gets_a_dict_with_reasoning_and_answer(printed_dicts):
    response = printed_dicts[0]
    assert [(name, type(value)) for name, value in response.items()] == CHAIN_OF_THOUGHT
    assert all(response.values())


def test_the_stream_has_chunks_of_both_fields_that_add_up_to_them(printed_dicts):
    response, *chunks = printed_dicts
    assert len(chunks) > 2
    assert {chunk["predict_name"] for chunk in chunks} == {"prog.predict"}
    streamed = dict.fromkeys(response, "")
    for chunk in chunks:
        streamed[chunk["signature_field_name"]] += chunk["chunk"]
    assert streamed == response


def test_the_program_itself_loads_back(flavor_page, printed_dicts):
    assert flavor_page.result["loaded"] == "CoT"
    assert flavor_page.result["answer"] == printed_dicts[0]


def test_a_fresh_process_loads_the_program_of_the_page(flavor_page, run_program, printed_dicts):
    inputs = json.dumps([{"question": "What kind of bear is best?"}])
    loaded = run_program("load_model", MODEL_URI=flavor_page.result["model_uri"], INPUTS=inputs)
    assert loaded.result["outputs"] == [printed_dicts[0]]
    assert loaded.result["lm"]["max_tokens"] == 250


def test_a_key_given_to_the_language_model_is_not_stored_with_the_program(flavor_page, tracking_server):
    model_id = flavor_page.result["model_uri"].removeprefix("models:/")
    assert "MLmodel" in tracking_server.files_holding(model_id)
    assert tracking_server.files_holding(CANARY_KEY) == []


# -- the page on optimizers -------------------------------------------------------------------


@pytest.fixture(scope="module")
def optimizer_page(run_program, lm_server, reuters, tracking_server):
    """Its example and the one of its FAQ, run to their end; gives their runs by the parent's name."""
    run_program("optimizer_page", LM_URL=lm_server, REUTERS_R8=reuters)
    return tracking_server.runs("DSPy Optimizer")


@pytest.fixture(scope="module")
def parents(optimizer_page):
    """The run of the plain compile, and the one that the user opened around both."""
    return [run for run in optimizer_page if "mlflow.parentRunId" not in run.data.tags]


def test_each_compile_is_a_finished_run_with_a_child_for_each_candidate(optimizer_page, parents):
    assert {run.info.status for run in optimizer_page} == {"FINISHED"}
    assert len(parents) == 2
    assert parents[1].info.run_name == "My Optimization Run"
    children = [run.data.tags.get("mlflow.parentRunId") for run in evaluations_of(optimizer_page)]
    assert [children.count(parent.info.run_id) for parent in parents] == [CANDIDATES] * 2


def test_the_parent_has_the_optimizer_its_scores_its_data_and_the_best_program(parents, tracking_server):
    client, parent = tracking_server.client, parents[0]
    scores = [metric.value for metric in client.get_metric_history(parent.info.run_id, "eval")]
    assert parent.data.params["optimizer"] == "BootstrapFewShotWithRandomSearch"
    assert parent.data.params["max_labeled_demos"] == "4"
    # The last is the best again.
    assert len(scores) == CANDIDATES + 1
    assert scores[-1] == max(scores) > scores[0]
    assert artifacts_of(client, parent) >= {"best_model.json", "trainset.json"}


def test_each_child_has_its_score_its_program_and_its_rows(optimizer_page, parents, tracking_server):
    for child in evaluations_of(optimizer_page):
        assert 0 <= child.data.metrics["eval"] <= 100
        assert "ChainOfThought.predict.signature.instructions" in child.data.params
        assert artifacts_of(tracking_server.client, child) >= {"model.json", "result_table.json"}


def test_each_row_of_a_candidate_is_a_trace_of_its_run(optimizer_page, parents, tracking_server):
    traces = tracking_server.traces("DSPy Optimizer")
    runs = [trace.info.request_metadata.get("mlflow.sourceRun") for trace in traces]
    children = [run.info.run_id for run in evaluations_of(optimizer_page)]
    assert {runs.count(child) for child in children} == {TRAINING_EXAMPLES}
    # The demos are bootstrapped in the compile's own run; the last evaluation is in the user's.
    assert runs.count(parents[1].info.run_id) - runs.count(parents[0].info.run_id) == TEST_EXAMPLES
    assert {trace.info.state for trace in traces} == {"OK"}


def evaluations_of(runs):
    """The runs of candidates; optimizers that another one calls have runs beside them."""
    return [run for run in runs if run.info.run_name.startswith("eval_")]


def artifacts_of(client, run):
    """The artifacts of a run."""
    return {artifact.path for artifact in client.list_artifacts(run.info.run_id)}


# -- the page on tracing ----------------------------------------------------------------------


@pytest.fixture
def traces_of_the_tracing_page(run_program, lm_server, tracking_server):
    """Runs the page's example with variables of the environment; gives the traces that it leaves."""

    def run(**variables):
        before = {trace.info.trace_id for trace in tracking_server.traces("DSPy")}
        run_program("tracing_page", LM_URL=lm_server, **variables)
        return [trace for trace in tracking_server.traces("DSPy") if trace.info.trace_id not in before]

    return run


def test_the_summary_is_one_trace_nested_as_the_modules_were_called(traces_of_the_tracing_page):
    (trace,) = traces_of_the_tracing_page(MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false")
    assert trace.info.state == "OK"
    assert tree(trace.data.spans) == {
        "Summarize.forward": {
            "ChainOfThought.forward": {
                "Predict.forward": {"ChatAdapter.format": {}, "LM.__call__": {}, "ChatAdapter.parse": {}}
            }
        }
    }
    root = next(span for span in trace.data.spans if span.parent_id is None)
    assert root.inputs["passage"].startswith("MLflow Tracing is a feature")
    assert root.outputs.keys() == {"reasoning", "summary"}


def test_the_trace_is_kept_where_the_script_ends_right_after_it(traces_of_the_tracing_page):
    assert len(traces_of_the_tracing_page()) == 1


def tree(spans, parent_id=None):
    """Spans as nested dicts of their names."""
    return {span.name: tree(spans, span.span_id) for span in spans if span.parent_id == parent_id}

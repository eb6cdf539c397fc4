"""A trace is in the experiment that MLflow would put it in, and no program waits at every trace to be told which."""

from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.delivery import adoption
from mlflow_dspy_plugin.seams import trace_places
from tests.fakes.tracking_server import EXPERIMENTS


class Answering(dspy.Module):
    """Asks no language model."""

    def forward(self, question):
        return dspy.Prediction(answer=question)


@pytest.fixture
def unsettled(monkeypatch):
    """A process that has not been told its experiment but by its environment."""
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    yield monkeypatch
    trace_places._known.clear()


@pytest.fixture
def named(unsettled):
    unsettled.setenv("MLFLOW_EXPERIMENT_NAME", "bears")
    mlflow.dspy.autolog()
    return unsettled


def ask() -> str:
    """Have a program called; the id of the trace."""
    Answering()(question="q")
    return mlflow.get_last_active_trace_id()


def experiment_of(trace_id: str) -> str:
    adoption.flush()
    return mlflow.get_experiment(mlflow.get_trace(trace_id).info.experiment_id).name


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [("NAME", "tests", "tests"), ("NAME", "new", "new"), ("ID", "1", "tests"), ("ID", None, "Default")],
)
@pytest.mark.parametrize("asynchronous", ["true", "false"])
def test_a_trace_is_in_the_experiment_of_the_environment(variable, value, name, asynchronous, unsettled):
    unsettled.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", asynchronous)
    if value is not None:
        unsettled.setenv(f"MLFLOW_EXPERIMENT_{variable}", value)
    mlflow.dspy.autolog()
    assert [experiment_of(ask()) for _ in range(2)] == [name] * 2


def test_what_the_environment_says_later_holds_for_later_traces(named):
    first = ask()
    named.setenv("MLFLOW_EXPERIMENT_NAME", "cats")
    second = ask()
    assert [experiment_of(each) for each in (first, second)] == ["bears", "cats"]


def test_what_goes_before_the_environment_for_mlflow_goes_before_it_here(named):
    other = mlflow.create_experiment("other")
    with mlflow.start_run(experiment_id=other):
        in_run = ask()
    mlflow.tracing.set_destination(mlflow.tracing.destination.MlflowExperiment(experiment_id=other))
    by_destination = ask()
    mlflow.tracing.reset()
    mlflow.set_experiment("third")
    by_choice = ask()
    assert [experiment_of(each) for each in (in_run, by_destination, by_choice)] == ["other", "other", "third"]


def test_no_server_is_asked_for_an_id_that_the_environment_gives(unsettled, server):
    unsettled.setenv("MLFLOW_EXPERIMENT_ID", "7")
    mlflow.dspy.autolog()
    server.answering.clear()
    ids = [ask() for _ in range(3)]
    with mlflow.start_span("mine") as span:
        ids.append(ask())
    server.answering.set()
    adoption.flush()
    assert server.places == {**dict.fromkeys(ids, "7"), span.trace_id: "7"}
    assert not any(path.startswith(EXPERIMENTS) for path in server.asked)


def test_a_server_is_asked_once_for_the_experiment_of_a_name(named, server):
    server.experiments["bears"] = "7"
    ids = [ask()]
    server.answering.clear()
    ids += [ask() for _ in range(3)]
    server.answering.set()
    adoption.flush()
    assert server.places == dict.fromkeys(ids, "7")
    assert server.asked[f"{EXPERIMENTS}get-by-name"] == 1


def test_a_server_that_is_not_there_keeps_no_program_waiting_for_the_experiment_of_a_name(named, server):
    server.refuse = lambda path, trace_id: 503
    # MLflow would ask for minutes.
    assert [Answering()(question="q").answer for _ in range(3)] == ["q"] * 3
    assert server.asked[f"{EXPERIMENTS}get-by-name"] == 3
    server.refuse = lambda path, trace_id: None
    later = ask()
    adoption.flush()
    assert server.places == {later: server.experiments["bears"]}


def test_threads_that_begin_at_once_make_an_experiment_once(named, server):
    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(lambda _: ask(), range(16)))
    adoption.flush()
    assert len(server.places) == 16 and ids <= set(server.places)
    assert set(server.places.values()) == set(server.experiments.values())
    assert server.asked[f"{EXPERIMENTS}create"] == 1


def test_spans_of_a_trace_that_began_elsewhere_are_where_the_environment_says(named, server):
    server.experiments["bears"] = "7"
    tracing = pytest.importorskip("mlflow.tracing.distributed", reason="this release has no traces across processes")
    headers = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    for _ in range(2):
        with tracing.set_tracing_context_from_http_request_headers(headers):
            ask()
    adoption.flush()
    assert server.spans[f"tr-{'1' * 32}"] == 2
    assert server.asked[f"{EXPERIMENTS}get-by-name"] == 1


def test_mlflow_asks_as_before_once_tracing_ends_here(named, server):
    ask()
    adoption.flush()
    mlflow.dspy.autolog(disable=True)
    with mlflow.start_span("mine") as span:
        pass
    assert server.asked[f"{EXPERIMENTS}get-by-name"] == 2
    # MLflow would wait for ever for a server that has ended meanwhile.
    mlflow.flush_trace_async_logging()
    assert server.places[span.trace_id] == server.experiments["bears"]


def test_what_mlflow_puts_back_unseen_is_adopted_at_the_next_trace(unsettled):
    """MLflow traces nothing while it logs and loads models, and their code may switch this on."""
    with mlflow.start_span("before"):
        pass
    mlflow.tracing.provider.trace_disabled(mlflow.dspy.autolog)()
    ask()
    adoption.flush()
    assert adoption.report().written == 1

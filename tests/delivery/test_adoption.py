"""Whatever becomes of MLflow's tracing, every trace of the process arrives, and MLflow gets all of it back."""

import shutil
import threading

import dspy
import mlflow
import pytest
from mlflow.tracing.processor.mlflow_v3 import MlflowV3SpanProcessor

from mlflow_dspy_plugin.delivery import adoption
from mlflow_dspy_plugin.delivery.exporter import Exporter
from mlflow_dspy_plugin.seams import mlflow_export
from tests.delivery.conftest import stored_in, trace_of
from tests.fakes.scripted import scripted_lm
from tests.tracing.trees import name_of


def names_stored() -> list[list[str]]:
    """The names of the spans of each stored trace."""
    found = mlflow.search_traces(return_type="list")
    spans = [sorted(trace.data.spans, key=lambda span: span.start_time_ns) for trace in found]
    return sorted([name_of(span) for span in each] for each in spans)


def test_installing_begins_no_tracing_and_makes_no_store(install, tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'none.db'}")
    install()
    assert not (tmp_path / "none.db").exists()
    assert mlflow_export.processors() == []


def test_a_program_and_the_user_s_own_spans_arrive(traces):
    mlflow.dspy.autolog()
    dspy.configure(lm=scripted_lm({"answer": "a"}))
    dspy.Predict("question -> answer")(question="q")
    with mlflow.start_span("mine"):
        pass
    assert sorted(trace.data.spans[0].name for trace in traces()) == ["Predict.forward", "mine"]
    assert adoption.report().written == 2


def test_a_trace_that_began_before_is_whole(install):
    with mlflow.start_span("root"):
        with mlflow.start_span("first"):
            pass
        install()
        with mlflow.start_span("second"):
            pass
    adoption.flush()
    assert names_stored() == [["root", "first", "second"]]


def test_a_trace_that_ends_after_it_was_undone_is_whole(install, traces):
    undo = install()
    with mlflow.start_span("root"):
        adoption.adopt()
        with mlflow.start_span("first"):
            pass
        undo()
        with mlflow.start_span("second"):
            pass
    traces()
    assert names_stored() == [["root", "first", "second"]]


def make_anew_by_reset():
    mlflow.tracing.reset()


def make_anew_by_disable():
    mlflow.tracing.disable()
    mlflow.tracing.enable()


def make_anew_by_destination():
    mlflow.tracing.set_destination(mlflow.tracing.destination.MlflowExperiment(experiment_id="1"))


@pytest.mark.parametrize("make_anew", [make_anew_by_reset, make_anew_by_disable, make_anew_by_destination])
def test_tracing_that_is_made_anew_is_adopted_anew(make_anew, install, store):
    install()
    trace_of("before")
    running = mlflow.start_span_no_context("running")
    make_anew()
    trace_of("after")
    running.end()
    adoption.flush()
    assert len(stored_in(store)) == 3
    assert adoption.report().written == 3


def test_each_store_gets_its_own(install, store, tmp_path):
    other = shutil.copy(store, tmp_path / "other.db")
    install()
    here = trace_of("here")
    mlflow.set_tracking_uri(f"sqlite:///{other}")
    mlflow.tracing.reset()
    there = trace_of("there")
    adoption.flush()
    assert stored_in(store) == [here]
    assert stored_in(other) == [there]


def test_undoing_gives_mlflow_its_exporters_back(install, traces):
    undo = install()
    trace_of("ours")
    [processor] = mlflow_export.processors()
    theirs = processor.span_exporter.theirs
    assert type(processor.span_exporter) is Exporter
    undo()
    assert mlflow_export.processors() == [processor]
    assert processor.span_exporter is theirs
    with mlflow.start_span("theirs"):
        pass
    assert len(traces()) == 2
    assert adoption.report().written == 0


def test_undoing_ends_the_thread(install):
    undo = install()
    trace_of("root")
    assert "mlflow-dspy-delivery" in {thread.name for thread in threading.enumerate()}
    [worker] = [thread for thread in threading.enumerate() if thread.name == "mlflow-dspy-delivery"]
    undo()
    worker.join(10)
    assert not worker.is_alive()


def test_adopting_twice_is_adopting_once(install):
    install()
    trace_of("first")
    [processor] = mlflow_export.processors()
    exporter = processor.span_exporter
    adoption._installed[-1]._seen = None
    trace_of("second")
    assert processor.span_exporter is exporter


def test_nothing_is_looked_up_again_while_tracing_is_the_same(install):
    install()
    trace_of("first")
    adopted = adoption._installed[-1]
    seen = adopted._seen
    adoption.adopt()
    assert adopted._seen is seen is not None


def test_processors_of_others_are_left_as_they_are(install):
    class Theirs(MlflowV3SpanProcessor):
        pass

    with mlflow.start_span("root"):
        pass
    [processor] = mlflow_export.processors()
    processor.__class__ = Theirs
    exporter = processor.span_exporter
    install()
    assert mlflow_export.processors() == []
    assert processor.span_exporter is exporter


def test_the_last_trace_is_known_at_once(install):
    install()
    assert trace_of("root") == mlflow.get_last_active_trace_id()


def test_flushing_by_mlflow_s_own_function_waits_for_all(install, store):
    install()
    for _ in range(20):
        trace_of("root")
    mlflow.flush_trace_async_logging()
    assert len(stored_in(store)) == 20
    trace_of("root")
    mlflow.flush_trace_async_logging(terminate=True)
    assert len(stored_in(store)) == 21
    # MLflow's own takes traces after that, too.
    trace_of("root")
    mlflow.flush_trace_async_logging()
    assert len(stored_in(store)) == 22


def test_what_is_found_out_later_is_in_what_is_stored(install):
    def tag(trace):
        trace.info.tags["found"] = trace.data.spans[0].name

    def fail(trace):
        raise RuntimeError("asked to")

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_AUTOLOGGING_TESTING")
        install(fail, tag)
        trace_of("root")
        adoption.flush()
    [trace] = mlflow.search_traces(return_type="list")
    assert trace.info.tags["found"] == "root"

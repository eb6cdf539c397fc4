"""The trace of a request says whose it is, and is a part of the trace that its caller has begun."""

import asyncio

import dspy
import mlflow
import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mlflow_dspy_plugin.seams.mlflow import flush_traces
from mlflow_dspy_plugin.seams.remote_traces import CAN_CONTINUE
from mlflow_dspy_plugin.server.trace_headers import TraceHeaders
from tests.conftest import store  # noqa: F401
from tests.fakes.scripted import scripted_lm
from tests.server.requests import answering
from tests.tracing.trees import open_traces, outline

PROGRAM = dspy.Predict("question -> answer")
SESSION, USER = "mlflow.trace.session", "mlflow.trace.user"
TRACEPARENT, REQUEST_ID = "mlflow.dspy.traceparent", "mlflow.dspy.request_id"
continuing = pytest.mark.skipif(not CAN_CONTINUE, reason="this release of MLflow continues no traces")
WHOSE = {"X-Session-Id": "conversation-1", "X-User-Id": "ada"}


@pytest.fixture(autouse=True)
def tracing(store):  # noqa: F811
    mlflow.tracing.reset()
    mlflow.dspy.autolog()
    dspy.configure(lm=scripted_lm({"answer": "a"}))
    before = open_traces()
    yield
    assert open_traces() == before
    mlflow.tracing.reset()


def sent_by_a_caller(sampled=True):
    """What OpenTelemetry sends of a span, and the ids of its trace and of itself."""
    provider = TracerProvider() if sampled else TracerProvider(sampler=ALWAYS_OFF)
    span = provider.get_tracer("caller").start_span("call")
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, otel.set_span_in_context(span))
    found = span.get_span_context()
    return headers, f"tr-{found.trace_id:032x}", f"{found.span_id:016x}"


def metadata_of(trace, *keys):
    return {key: trace.info.trace_metadata.get(key) for key in keys}


def stored(trace_id):
    flush_traces()
    return mlflow.get_trace(trace_id)


def test_the_trace_says_who_has_asked_for_what(traces):
    with answering(TraceHeaders(), headers=WHOSE) as request:
        PROGRAM(question="q")
    PROGRAM(question="not of a request")
    after, trace = sorted(traces(), key=lambda trace: trace.info.request_time, reverse=True)
    assert metadata_of(trace, SESSION, USER, REQUEST_ID, TRACEPARENT) == {
        SESSION: "conversation-1",
        USER: "ada",
        REQUEST_ID: "request-1",
        TRACEPARENT: None,
    }
    assert metadata_of(trace, "mlflow.dspy.served_model", "mlflow.dspy.served_version") == {
        "mlflow.dspy.served_model": "qa",
        "mlflow.dspy.served_version": "3",
    }
    assert (request.session, request.user, request.trace_id) == ("conversation-1", "ada", trace.info.trace_id)
    assert metadata_of(after, SESSION, REQUEST_ID) == {SESSION: None, REQUEST_ID: None}


def test_mlflow_s_own_names_of_headers_come_first(traces):
    with answering(TraceHeaders(), headers={"X-MLflow-Session-Id": "first", **WHOSE}) as request:
        PROGRAM(question="q")
    assert request.session == "first"


@pytest.mark.parametrize("value", ["\x00\x01", "  ", "tab\tin it"])
def test_a_header_that_is_no_text_says_nothing(value, traces):
    with answering(TraceHeaders(), headers={"X-Session-Id": value}):
        PROGRAM(question="q")
    [trace] = traces()
    assert SESSION not in trace.info.trace_metadata


def test_a_long_header_is_cut(traces):
    with answering(TraceHeaders(), headers={"X-User-Id": "u" * 10_000}):
        PROGRAM(question="q")
    [trace] = traces()
    assert trace.info.trace_metadata[USER] == "u" * 250


@continuing
def test_a_request_is_a_part_of_the_trace_of_its_caller():
    headers, trace_id, span_id = sent_by_a_caller()
    with answering(TraceHeaders(), headers={**headers, **WHOSE}) as request:
        PROGRAM(question="q")
    trace = stored(trace_id)
    assert request.trace_id == trace_id
    tops = [span for span in trace.data.spans if span.parent_id == span_id]
    assert [span.name for span in tops] == ["Predict.forward"]
    assert len(trace.data.spans) > 1
    assert metadata_of(trace, SESSION, USER) == {SESSION: "conversation-1", USER: "ada"}
    assert tops[0].get_attribute(REQUEST_ID) == "request-1"


@continuing
def test_requests_of_one_trace_at_the_same_time_all_arrive():
    headers, trace_id, span_id = sent_by_a_caller()

    async def ask(number):
        with answering(TraceHeaders(), headers=headers) as request:
            for _ in range(number):
                # They end one after the other, while others have begun.
                await asyncio.sleep(0)
            await PROGRAM.acall(question=f"q{number}")
        return request.trace_id

    async def ask_all():
        return await asyncio.gather(*(ask(number) for number in range(8)))

    assert asyncio.run(ask_all()) == [trace_id] * 8
    trace = stored(trace_id)
    tops = [span for span in trace.data.spans if span.parent_id == span_id]
    assert sorted(span.inputs["question"] for span in tops) == [f"q{number}" for number in range(8)]
    below = {span.parent_id for span in trace.data.spans}
    assert all(span.span_id in below for span in tops)


def test_what_mlflow_cannot_continue_is_noted(traces):
    headers, trace_id, _ = sent_by_a_caller(sampled=False)
    with answering(TraceHeaders(), headers=headers) as request:
        PROGRAM(question="q")
    [trace] = traces()
    assert trace.info.trace_id == request.trace_id != trace_id
    assert trace.info.trace_metadata[TRACEPARENT] == headers["traceparent"]


@pytest.mark.skipif(CAN_CONTINUE, reason="this release of MLflow continues traces")
def test_a_release_that_cannot_continue_traces_notes_them(traces):
    headers, _, _ = sent_by_a_caller()
    with answering(TraceHeaders(), headers=headers):
        PROGRAM(question="q")
    [trace] = traces()
    assert trace.info.trace_metadata[TRACEPARENT] == headers["traceparent"]


ILL = ["", "00-0-0-01", "x" * 5000, f"00-{'0' * 32}-{'0' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01", "00-\u00e4-1-1"]


@pytest.mark.parametrize("traceparent", ILL)
def test_an_ill_traceparent_changes_nothing(traceparent, traces):
    with answering(TraceHeaders(), headers={"traceparent": traceparent}):
        PROGRAM(question="q")
    [trace] = traces()
    assert TRACEPARENT not in trace.info.trace_metadata
    assert outline(trace)


def test_a_request_without_a_program_leaves_no_trace(traces):
    headers, _, _ = sent_by_a_caller()
    with answering(TraceHeaders(), headers=headers):
        pass
    assert traces() == []

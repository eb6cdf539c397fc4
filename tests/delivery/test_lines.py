"""A trace comes back from a line of text as it was, with what stands beside it."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow.entities.model_registry import PromptVersion

from mlflow_dspy_plugin.delivery import adoption
from mlflow_dspy_plugin.seams import ended_traces
from mlflow_dspy_plugin.seams.ended_traces import from_line, to_line
from tests.delivery.conftest import trace_of

try:
    from mlflow.tracing.attachments import Attachment
except ImportError:
    Attachment = None
try:
    from mlflow.tracing.distributed import (
        get_tracing_context_headers_for_http_request as headers_of_context,
    )
    from mlflow.tracing.distributed import (
        set_tracing_context_from_http_request_headers as context_of_headers,
    )
except ImportError:
    headers_of_context = context_of_headers = None

needs_attachments = pytest.mark.skipif(Attachment is None, reason="this release has no attachments")
needs_distribution = pytest.mark.skipif(headers_of_context is None, reason="this release has no distributed traces")


@pytest.fixture
def ended(install):
    """Takes the trace of a root that has ended, in place of its delivery."""
    install()
    trace_of("first")
    [delivery] = adoption._installed[-1]._deliveries.values()
    taken = []
    delivery.put, before = taken.append, delivery.put

    def take(root):
        root.end()
        return taken[-1]

    yield take
    delivery.put = before


def test_a_line_is_one_line_and_comes_back_as_it_was(ended):
    root = mlflow.start_span_no_context("a\nb", inputs={"text": "Grüße\n\u2028", "number": float("nan")})
    trace = ended(root)
    line = to_line(trace)
    assert b"\n" not in line
    back = from_line(line)
    assert back.whole().to_dict() == trace.whole().to_dict()
    assert (back.trace_id, back.experiment_id) == (root.trace_id, "1")


def test_prompts_come_back_by_name_and_version(ended):
    root = mlflow.start_span_no_context("root")
    manager = ended_traces.InMemoryTraceManager.get_instance()
    manager.register_prompt(root.trace_id, PromptVersion(name="greeting", version=3, template="Hi {{name}}"))
    [prompt] = from_line(to_line(ended(root))).prompts
    assert (prompt.name, prompt.version) == ("greeting", 3)


@needs_attachments
def test_attachments_come_back_and_are_stored(ended):
    content = Attachment(content_type="image/png", content_bytes=bytes(range(256)))
    root = mlflow.start_span_no_context("root", inputs={"image": content})
    back = from_line(to_line(ended(root)))
    [found] = ended_traces.attachments_of(back.whole()).values()
    assert (found.id, found.content_type, found.content_bytes) == (content.id, "image/png", bytes(range(256)))
    [delivery] = adoption._installed[-1]._deliveries.values()
    type(delivery).put(delivery, back)
    adoption.flush()
    folder = mlflow.get_trace(root.trace_id).info.tags["mlflow.artifactLocation"]
    [stored] = Path(folder.removeprefix("file://")).rglob(f"{content.id}*")
    assert stored.read_bytes() == bytes(range(256))


def test_a_trace_that_is_no_text_is_dropped_without_its_mates(install, server, log):
    """MLflow cannot write a lone surrogate in the preview of a trace either."""
    install()
    server.refuse = lambda path, trace_id: 503
    with mlflow.start_span("root") as span:
        adoption.adopt()
        span.set_inputs("\ud800")
    trace_of("good")
    adoption.flush()
    report = adoption.report()
    assert (report.spooled, report.dropped) == (1, 1)
    assert ["cannot be kept as text" in message for message in log].count(True) == 1


@needs_attachments
def test_what_a_resource_says_comes_back(ended, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "bears")
    mlflow.tracing.reset()
    root = mlflow.start_span_no_context("root")
    adoption.adopt()
    back = from_line(to_line(ended(root)))
    assert back.whole().data.spans[0]._span.resource.attributes["service.name"] == "bears"


@needs_distribution
def test_spans_below_one_of_another_process_are_stored_with_it(install, monkeypatch):
    install()
    trace_of("first")
    with mlflow.start_span("caller") as caller:
        headers = headers_of_context()
    with context_of_headers(headers), mlflow.start_span("handler"), mlflow.start_span("below"):
        pass
    adoption.flush()
    trace = mlflow.get_trace(caller.trace_id)
    assert sorted(span.name for span in trace.data.spans) == ["below", "caller", "handler"]
    assert trace.info.state == "OK"


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"nonsense", json.dumps({"trace": {}}).encode()])
def test_what_is_no_trace_is_said_to_be_none(line, install, server, log):
    install()
    server.refuse = lambda path, trace_id: 503
    trace_of("root")
    adoption.flush()
    [delivery] = adoption._installed[-1]._deliveries.values()
    delivery._keeper.spool.append(line)
    server.refuse = lambda path, trace_id: None
    trace_of("other")
    adoption.flush()
    report = adoption.report()
    assert (report.written, report.spooled, report.dropped) == (2, 0, 1)
    assert ["is no trace" in message for message in log].count(True) == 1

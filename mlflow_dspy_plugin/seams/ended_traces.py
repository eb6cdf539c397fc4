"""A trace that has ended: out of MLflow's table of traces in progress, and to and from a line of text."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Assessment, Span, Trace, TraceData
from mlflow.entities.model_registry import PromptVersion
from mlflow.entities.trace_state import TraceState
from mlflow.environment_variables import MLFLOW_TRACE_TIMEOUT_SECONDS
from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey
from mlflow.tracing.fluent import _EVAL_REQUEST_ID_TO_TRACE_ID, _set_last_active_trace_id
from mlflow.tracing.processor import base_mlflow
from mlflow.tracing.trace_manager import InMemoryTraceManager
from mlflow.tracing.utils import (
    TraceJSONEncoder,
    encode_span_id,
    generate_assessment_id,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status

from mlflow_dspy_plugin.seams.trace_places import experiment_of

_NANOSECONDS = 1_000_000_000
# From MLflow 3.5 on its span processor does this where a root ends, before its exporter does.
_PROCESSOR_REMEMBERS = hasattr(base_mlflow, "_set_last_active_trace_id")


@dataclass
class Ended:
    """A trace whose root has ended.

    Attributes:
        trace_id: Its id.
        experiment_id: Where it belongs, if that is known.
        live: MLflow's own record of it, with spans as they ran; None once `whole` has turned it.
        trace: What is stored.
        prompts: The prompts that it used.
        workspace: That of the server, where it has several.
        partial: It began in another process, which stores all but these spans.
        said: What was said of it since it ended.
    """

    trace_id: str
    experiment_id: str | None
    live: Any = None
    trace: Trace | None = None
    prompts: Sequence[PromptVersion] = ()
    workspace: str | None = None
    partial: bool = False
    said: list[Assessment] = field(default_factory=list)

    def assess(self, assessments: Sequence[Assessment], run_id: str | None) -> None:
        """Say something of it, and to which run it belongs."""
        for assessment in assessments:
            assessment.trace_id = self.trace_id
            self.said.append(assessment)
        info = self.live.info if self.trace is None else self.trace.info
        if run_id is not None:
            info.trace_metadata[TraceMetadataKey.SOURCE_RUN] = run_id

    def whole(self) -> Trace:
        """What is stored."""
        if self.trace is None:
            self.trace, self.live = self.live.to_mlflow_trace(), None
        if self.said:
            self.trace.info.assessments = [*(self.trace.info.assessments or []), *self.said]
            self.said = []
        return self.trace

    def has_failed(self) -> bool:
        """Whether its root, or what the user has said of it, is an error."""
        info = self.live.info if self.trace is None else self.trace.info
        return info.state == TraceState.ERROR

    def name_assessments(self) -> None:
        """Give each assessment its id; the store would find another one each time that the trace is written."""
        for assessment in () if self.partial else self.whole().info.assessments:
            assessment.assessment_id = assessment.assessment_id or generate_assessment_id()

    def size(self) -> int:
        """About how many characters its spans hold, for a fraction of what counting them all costs."""
        spans = self.live.span_dict.values() if self.trace is None else self.trace.data.spans
        total = 0
        for span in spans:
            attributes = span._span._attributes or {}
            # MLflow keeps each value as JSON. OpenTelemetry's mapping takes its time with every item.
            for value in getattr(attributes, "_dict", attributes).values():
                if isinstance(value, str):
                    total += len(value)
        return total


def take(root: ReadableSpan) -> Ended | None:
    """Take a trace out of MLflow's table, by its root; None where it is not, or no longer, there."""
    manager = InMemoryTraceManager.get_instance()
    # MLflow's own way turns all spans to what is stored meanwhile.
    with manager._lock:
        trace_id = manager._otel_id_to_mlflow_trace_id.pop(root.context.trace_id, None)
        live = manager._traces.pop(trace_id, None) if trace_id else None
    if live is None:
        return None
    if not _PROCESSOR_REMEMBERS:
        _set_last_active_trace_id(trace_id)
    if request_id := live.info.tags.get(TraceTagKey.EVAL_REQUEST_ID):
        # By this, `mlflow.evaluate` finds the trace of a row.
        _EVAL_REQUEST_ID_TO_TRACE_ID[request_id] = trace_id
    workspace = getattr(live, "workspace", None)
    return Ended(trace_id, live.info.experiment_id, live, prompts=live.prompts, workspace=workspace)


def has_open_spans(root: ReadableSpan) -> bool:
    """Whether spans of a trace whose root has ended still run."""
    manager = InMemoryTraceManager.get_instance()
    with manager._lock:
        live = manager._traces.get(manager._otel_id_to_mlflow_trace_id.get(root.context.trace_id))
        open_ = live is not None and any(span._span._end_time is None for span in live.span_dict.values())
    # A trace that MLflow ends because of its age is not to be waited for.
    return open_ and not _is_overdue(root)


def _is_overdue(root: ReadableSpan) -> bool:
    limit = MLFLOW_TRACE_TIMEOUT_SECONDS.get()
    return limit is not None and root.end_time - root.start_time >= limit * _NANOSECONDS


def take_part(top: ReadableSpan) -> Ended | None:
    """The spans of a trace that began in another process, from one of their topmost on; None where it began here.

    Whoever has put the trace into MLflow's table takes it out; other requests may have spans in it.
    """
    manager = InMemoryTraceManager.get_instance()
    trace_id = manager.get_mlflow_trace_id_from_otel_id(top.context.trace_id)
    with manager.get_trace(trace_id) as live:
        if live is None or not getattr(live, "is_remote_trace", False):
            return None
        spans, below = live.span_dict, {encode_span_id(top.context.span_id): None}
        for span_id, span in spans.items():
            if span.parent_id in below:
                below[span_id] = None
        taken = [spans.pop(each) for each in below if each in spans and spans[each].end_time_ns is not None]
        ended = [span.to_immutable_span() for span in taken]
    trace = Trace(live.info, TraceData(ended))
    return Ended(trace_id, experiment_of(top), None, trace, (), live.workspace, partial=True)


def to_line(ended: Ended) -> bytes:
    """The trace as a line of JSON, with what MLflow's own JSON form leaves out."""
    ended.name_assessments()
    trace = ended.whole()
    spans = trace.data.spans
    record = {
        "trace_id": ended.trace_id,
        "experiment_id": ended.experiment_id,
        "workspace": ended.workspace,
        "prompts": [[prompt.name, prompt.version] for prompt in ended.prompts],
        "attachments": [[at, *each] for at, span in enumerate(spans) for each in _attachments_of(span)],
        "resource": dict(spans[0]._span.resource.attributes) if spans else {},
        "partial": ended.partial,
        # What began elsewhere has no information of its own.
        "trace": {"info": None, "data": trace.data.to_dict()} if ended.partial else trace.to_dict(),
    }
    return json.dumps(record, cls=TraceJSONEncoder).encode()


def from_line(line: bytes) -> Ended:
    """The trace that `to_line` has written.

    Raises:
        ValueError, KeyError, TypeError or MlflowException: If this is no such line.
    """
    record = json.loads(line)
    data = TraceData.from_dict(record["trace"]["data"])
    trace = Trace(None, data) if record["partial"] else Trace.from_dict(record["trace"])
    resource = Resource(record["resource"]) if record["resource"] else None
    for span in trace.data.spans:
        span._span._resource = resource or span._span._resource
    for at, *attachment in record["attachments"]:
        _attach(trace.data.spans[at], *attachment)
    # Only the name and the version of a prompt are linked.
    prompts = [PromptVersion(name=name, version=version, template="") for name, version in record["prompts"]]
    place = record["trace_id"], record["experiment_id"]
    return Ended(*place, None, trace, prompts, record["workspace"], record["partial"])


def add_attribute(span: Span, key: str, text: str) -> None:
    """Set an attribute of a span that has ended, given as JSON text."""
    attributes = span._span._attributes
    # OpenTelemetry's mapping refuses changes once its span is a copy to be exported.
    getattr(attributes, "_dict", attributes)[key] = text
    getattr(span._attributes, "_cache", {}).pop(key, None)


def change_event(span: Span, name: str, timestamp: int, attributes: Mapping[str, Any]) -> None:
    """Give an event of a span that has ended other attributes."""
    for event in span._span._events:
        if (event.name, event.timestamp) == (name, timestamp):
            event._attributes = dict(attributes)


def change_status(span: Span, description: str) -> None:
    """Give the status of a span that has ended another description."""
    span._span._status = Status(span._span._status.status_code, description)


def attachments_of(trace: Trace) -> dict[str, Any]:
    """What spans refer to and MLflow stores beside them, by id; releases before 3.11 or so have nothing like it."""
    return {key: value for span in trace.data.spans for key, value in getattr(span, "_attachments", {}).items()}


def _attachments_of(span: Span) -> list[tuple[str, str, str]]:
    found = getattr(span, "_attachments", {}).values()
    return [(each.id, each.content_type, base64.b64encode(each.content_bytes).decode()) for each in found]


def _attach(span: Span, key: str, content_type: str, content: str) -> None:
    # Older releases never wrote one.
    from mlflow.tracing.attachments import Attachment

    attachment = Attachment(content_type=content_type, content_bytes=base64.b64decode(content))
    # The spans refer to it by this.
    attachment._id = key
    span._attachments[key] = attachment

"""A whole trace as text: every span's name, type, status, inputs, outputs, attributes and events, below its parent."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from mlflow.entities import Span, Trace

from tests.tracing.trees import name_of

# Of MLflow's, beside what is shown in lines of its own.
_BOOKKEEPING = ("mlflow.traceRequestId", "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType")
# What only some releases know, or a scripted LM has on some only; `test_lm_calls.py` looks at the latter.
_OF_SOME_RELEASES = ("mlflow.spanLogLevel", "latency_ms", "requests", "retries", "response_id")
# Of a call that is streamed.
_OF_STREAMS = ("stream", "chunks", "time_to_first_token_ms")
_LEFT_OUT = {*_BOOKKEEPING, *_OF_SOME_RELEASES, *_OF_STREAMS, "exception.stacktrace"}
# Prompts and instructions of DSPy's own differ from release to release.
_LONGEST = 120


def picture(trace: Trace, below: str | None = None) -> str:
    """A trace as text, or only what is below its span of the given name."""
    children = defaultdict(list)
    for span in sorted(trace.data.spans, key=lambda each: each.start_time_ns):
        children[span.parent_id].append(span)
    top = next((span.span_id for span in trace.data.spans if span.name == below), None)
    return "".join(f"{line}\n" for span in children[top] for line in _drawn(span, children))


def chunks(span: Span) -> int:
    """How many parts an answer has come in."""
    return sum(event.name == "chunk" for event in span.events)


def _drawn(span: Span, children: dict[str | None, list[Span]]) -> Iterator[str]:
    yield f"{name_of(span)} {span.span_type} {span.status.status_code.value}"
    yield f"  in {_shown(span.inputs)}"
    yield f"  out {_shown(span.outputs)}"
    for key in sorted(set(span.attributes) - _LEFT_OUT):
        yield f"  {key} = {_shown(span.attributes[key])}"
    for event in span.events:
        if event.name != "chunk":
            yield f"  ! {event.name} {_shown(event.attributes)}"
    for child in children[span.span_id]:
        for line in _drawn(child, children):
            yield f"    {line}"


def _shown(value: Any) -> str:
    return json.dumps(_shortened(value), ensure_ascii=False, sort_keys=True)


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        hidden = {*_LEFT_OUT, "id"} if "choices" in value else _LEFT_OUT
        return {key: _shortened(each) for key, each in value.items() if key not in hidden}
    if isinstance(value, list | tuple):
        return [_shortened(each) for each in value]
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value.splitlines()[0][:40]}..."
    return value

"""The least that a trace can cost: the same spans, opened and closed through MLflow's bare span API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy
import mlflow
from dspy.utils.callback import BaseCallback
from mlflow.entities import LiveSpan, SpanType


@dataclass(frozen=True)
class Start:
    """A span that begins, with what is set on it."""

    name: str
    type: str
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class End:
    """The span that began last ends."""

    outputs: Any


class Recorder(BaseCallback):
    """Notes the spans of a program, in the order in which they begin and end."""

    def __init__(self) -> None:
        self.events: list[Start | End] = []

    def on_module_start(self, call_id, instance, inputs):
        span_type = SpanType.LLM if isinstance(instance, dspy.Predict) else SpanType.CHAIN
        self._start(f"{type(instance).__name__}.forward", span_type, inputs)

    def on_lm_start(self, call_id, instance, inputs):
        self._start(f"{type(instance).__name__}.__call__", SpanType.CHAT_MODEL, inputs)

    def on_adapter_format_start(self, call_id, instance, inputs):
        self._start(f"{type(instance).__name__}.format", SpanType.PARSER, inputs)

    def on_adapter_parse_start(self, call_id, instance, inputs):
        self._start(f"{type(instance).__name__}.parse", SpanType.PARSER, inputs)

    def on_module_end(self, call_id, outputs, exception=None):
        self.events.append(End(outputs.toDict() if isinstance(outputs, dspy.Prediction) else outputs))

    on_lm_end = on_module_end
    on_adapter_format_end = on_module_end
    on_adapter_parse_end = on_module_end

    def _start(self, name: str, span_type: str, inputs: Mapping[str, Any]) -> None:
        named = {key: value for key, value in inputs.items() if key not in ("args", "kwargs")}
        named.update(inputs.get("kwargs") or {})
        readable = {key: repr(value) if isinstance(value, type) else value for key, value in named.items()}
        self.events.append(Start(name, span_type, readable))


def spans_of(call: Callable[[], Any]) -> list[Start | End]:
    """The spans of one call of a program."""
    recorder = Recorder()
    with dspy.context(callbacks=[recorder]):
        call()
    return recorder.events


def open_again(events: list[Start | End], question: str) -> None:
    """Open and close the spans of a call, the outermost with another question."""
    opened: list[LiveSpan] = []
    for event in events:
        if isinstance(event, End):
            opened.pop().end(outputs=event.outputs)
        else:
            parent = opened[-1] if opened else None
            inputs = event.inputs if parent else {"question": question}
            opened.append(
                mlflow.start_span_no_context(event.name, span_type=event.type, parent_span=parent, inputs=inputs)
            )

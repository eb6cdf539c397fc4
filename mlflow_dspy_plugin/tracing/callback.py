"""When a span opens and closes, and nothing else: DSPy's events -> MLflow's spans."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy
import mlflow
from mlflow.entities import LiveSpan, SpanEvent, SpanStatusCode

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.seams import current_span, handed_down
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam
from mlflow_dspy_plugin.seams.programs import ends_agent
from mlflow_dspy_plugin.seams.trace_context import is_silenced
from mlflow_dspy_plugin.tracing import predictions, spans, usage

# Under this name code inherits that its calls are not to be traced.
_SILENCED = "silenced"


@dataclass(frozen=True)
class _Open:
    """A call that is under way: its span, and what has to be taken back when it ends.

    A call that gets no span of its own stands for its parent's, so that what it calls finds it.
    """

    span: LiveSpan | None
    context: Any = None
    handed_down: Any = None
    # What was being handled when the call began, which therefore did not interrupt it.
    interruption: BaseException | None = None


class TracingCallback(dspy_seam.Watcher):
    """Opens a span at every `on_*_start` of DSPy and closes it at the `on_*_end` of the same call.

    Args:
        trace_compiles: Whether what runs inside an optimizer's `compile` is traced.
        trace_evaluations: Whether what runs inside `dspy.Evaluate` is traced.
    """

    def __init__(self, *, trace_compiles: bool = False, trace_evaluations: bool = True):
        self._trace_compiles = trace_compiles
        self._trace_evaluations = trace_evaluations
        self._open: dict[str, _Open] = {}

    def on_module_start(self, call_id, instance, inputs):
        # dspy 3.0 to 3.3 take a language model that is no `dspy.LM` for a module.
        is_lm = isinstance(instance, dspy.BaseLM)
        self._start(call_id, lambda: (spans.of_lm if is_lm else spans.of_module)(instance), inputs)

    def on_lm_start(self, call_id, instance, inputs):
        self._start(call_id, lambda: spans.of_lm(instance), inputs)

    def on_adapter_format_start(self, call_id, instance, inputs):
        self._start(call_id, lambda: spans.of_adapter(instance, "format"), inputs)

    def on_adapter_parse_start(self, call_id, instance, inputs):
        self._start(call_id, lambda: spans.of_adapter(instance, "parse"), inputs)

    def on_tool_start(self, call_id, instance, inputs):
        if ends_agent(instance):
            self._stand_for_parent(call_id)
        else:
            self._start(call_id, lambda: spans.of_tool(instance), inputs)

    def on_evaluate_start(self, call_id, instance, inputs):
        self._stand_for_parent(call_id, silence=not self._trace_evaluations)

    def on_compile_start(self, call_id, instance, inputs):
        self._stand_for_parent(call_id, silence=not self._trace_compiles)

    def on_module_end(self, call_id, outputs, exception=None):
        self._end(call_id, outputs, exception)

    # Closing a call is the same whatever kind it is of.
    on_lm_end = on_module_end
    on_adapter_format_end = on_module_end
    on_adapter_parse_end = on_module_end
    on_tool_end = on_module_end
    on_evaluate_end = on_module_end
    on_compile_end = on_module_end

    @never_raises
    def on_lm_result(self, result: Any) -> None:
        """Note the tokens and the cost of the LM call that the current code runs in."""
        call = self._open.get(dspy_seam.active_call_id())
        if call is not None and call.context is not None:
            call.span.set_attributes(usage.attributes_of(result))

    @never_raises
    def _start(self, call_id: str, describe: Callable[[], spans.Opening], inputs: Mapping[str, Any]) -> None:
        if not self.installed or handed_down.inherited(_SILENCED) or is_silenced():
            return
        opening, parent = describe(), self._parent()
        span = current_span.start_span(opening.name, opening.type, parent)
        if parent is None:
            mlflow_seam.start_export()
        self._open[call_id] = _Open(span, mlflow_seam.enter_span(span), interruption=dspy_seam.interruption())
        # Only now: what cannot be read must not cost the span, or leave it open.
        span.set_attributes(dict(opening.attributes))
        span.set_inputs(spans.inputs_of(inputs))

    @never_raises
    def _stand_for_parent(self, call_id: str, silence: bool = False) -> None:
        if not self.installed:
            return
        handed = handed_down.hand_down(**{_SILENCED: True}) if silence else None
        self._open[call_id] = _Open(self._parent(), handed_down=handed)

    @never_raises
    def _end(self, call_id: str, outputs: Any, exception: BaseException | None) -> None:
        call = self._open.pop(call_id, None)
        if call is None:
            return
        if call.handed_down is not None:
            handed_down.take_back(call.handed_down)
        if call.context is not None:
            # Before it ends: a trace that has ended is no longer found in the context.
            mlflow_seam.leave_span(call.context)
            _close(call, outputs, exception)
            if isinstance(outputs, dspy.Prediction) and isinstance(call.span, LiveSpan):
                predictions.remember(outputs, call.span.trace_id)

    def _parent(self) -> LiveSpan | None:
        """The span under which the current code runs.

        The span of the context comes first: it may be one that the user opened inside a module.
        """
        current = mlflow.get_current_active_span()
        if current is not None:
            return current
        call = self._open.get(dspy_seam.active_call_id())
        return call.span if call is not None else None


def _close(call: _Open, outputs: Any, exception: BaseException | None) -> None:
    """End the span of a call, whether or not what it ended with can be read."""
    passing = dspy_seam.interruption()
    if exception is None and outputs is None and passing is not call.interruption:
        exception = passing
    status = SpanStatusCode.OK if exception is None else SpanStatusCode.ERROR
    try:
        if exception is not None:
            call.span.add_event(_event_of(exception))
        elif outputs is not None:
            call.span.set_outputs(spans.outputs_of(outputs))
    finally:
        current_span.end_span(call.span, status)


def _event_of(exception: BaseException) -> SpanEvent:
    """The event that tells of an exception; a provider may have put the caller's key into its message."""
    event = SpanEvent.from_exception(exception)
    attributes = {key: redact_text(value) for key, value in event.attributes.items()}
    return SpanEvent(name=event.name, timestamp=event.timestamp, attributes=attributes)

"""When a span opens and closes, and nothing else: DSPy's events -> MLflow's spans."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy
import mlflow
from mlflow.entities import LiveSpan, SpanEvent, SpanStatusCode

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams import mlflow as mlflow_seam
from mlflow_dspy_plugin.seams.prices import mark_unpriced
from mlflow_dspy_plugin.seams.programs import ends_agent
from mlflow_dspy_plugin.tracing import lm_calls, spans, usage

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
    # What is learnt of the LM call that this is, or is made by.
    lm_call: lm_calls.LMCall | None = None
    is_lm: bool = False


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
        if isinstance(instance, dspy.BaseLM):
            self.on_lm_start(call_id, instance, inputs)
        else:
            self._start(call_id, lambda: spans.of_module(instance), inputs)

    def on_lm_start(self, call_id, instance, inputs):
        self._start(call_id, lambda: lm_calls.opening(instance, inputs), inputs, lm=instance)

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
        """Keep what DSPy knows of the LM call that the current code runs in, until it ends."""
        if (call := self._lm_call()) is not None:
            call.take(result)

    @never_raises
    def on_lm_attempt(self, attempt: Any) -> None:
        """Keep that a provider is asked."""
        if (call := self._lm_call()) is not None:
            call.attempts.append(attempt)

    @never_raises
    def on_lm_chunk(self, chunk: Any) -> None:
        """Keep that a part of an answer has come."""
        if (call := self._lm_call()) is not None:
            call.chunks.add(chunk)

    @never_raises
    def on_cache_hit(self, used: Mapping[str, Any]) -> None:
        """Keep what need not be billed again."""
        if (call := self._lm_call()) is not None:
            call.saved = used

    def _lm_call(self) -> lm_calls.LMCall | None:
        """The LM call that the current code runs in."""
        call = self._open.get(dspy_seam.active_call_id())
        return call.lm_call if call is not None and call.is_lm else None

    @never_raises
    def _start(
        self, call_id: str, describe: Callable[[], spans.Opening], inputs: Mapping[str, Any], lm: Any = None
    ) -> None:
        if not self.installed or dspy_seam.inherited(_SILENCED):
            return
        opening, parent = describe(), self._parent()
        caller = self._open.get(dspy_seam.active_call_id() or dspy_seam.inherited_call_id())
        around = caller.lm_call if caller is not None else None
        span = mlflow.start_span_no_context(opening.name, span_type=opening.type, parent_span=parent)
        if parent is None:
            mlflow_seam.start_export()
        self._open[call_id] = _Open(
            span,
            mlflow_seam.enter_span(span),
            dspy_seam.hand_down_parent(call_id),
            dspy_seam.interruption(),
            around if lm is None else lm_calls.LMCall(around),
            is_lm=lm is not None,
        )
        # Only now: what cannot be read must not cost the span, or leave it open.
        span.set_attributes(dict(opening.attributes))
        span.set_inputs(spans.inputs_of(inputs) if lm is None else lm_calls.request(lm, inputs))

    @never_raises
    def _stand_for_parent(self, call_id: str, silence: bool = False) -> None:
        if not self.installed:
            return
        handed = dspy_seam.hand_down(**{_SILENCED: True}) if silence else None
        self._open[call_id] = _Open(self._parent(), handed_down=handed)

    @never_raises
    def _end(self, call_id: str, outputs: Any, exception: BaseException | None) -> None:
        call = self._open.pop(call_id, None)
        if call is None:
            return
        if call.handed_down is not None:
            dspy_seam.take_back(call.handed_down)
        if call.context is not None:
            # Before it ends: a trace that has ended is no longer found in the context.
            mlflow_seam.leave_span(call.context)
            _close(call, outputs, exception)

    def _parent(self) -> LiveSpan | None:
        """The span under which the current code runs.

        The span of the context comes first: it may be one that the user opened inside a module.
        """
        current = mlflow.get_current_active_span()
        if current is not None:
            return current
        call = self._open.get(dspy_seam.active_call_id() or dspy_seam.inherited_call_id())
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
        if call.is_lm:
            _tell_of_lm(call, outputs)
        elif exception is None and outputs is not None:
            call.span.set_outputs(spans.outputs_of(outputs))
    finally:
        call.span.end(status=status)


def _tell_of_lm(call: _Open, outputs: Any) -> None:
    told, attributes = lm_calls.response(call.lm_call, outputs)
    call.span.set_attributes(attributes)
    if usage.USAGE in attributes and usage.COST not in attributes:
        mark_unpriced(call.span)
    for event in lm_calls.events(call.lm_call):
        call.span.add_event(event)
    if told is not None:
        call.span.set_outputs(told)


def _event_of(exception: BaseException) -> SpanEvent:
    """The event that tells of an exception; a provider may have put the caller's key into its message."""
    event = SpanEvent.from_exception(exception)
    attributes = {key: redact_text(value) for key, value in event.attributes.items()}
    return SpanEvent(name=event.name, timestamp=event.timestamp, attributes=attributes)

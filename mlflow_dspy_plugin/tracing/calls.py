"""The calls that are under way: which span stands for each, and how it is closed."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import dspy
from mlflow.entities import LiveSpan, SpanEvent

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.delivery.adoption import adopt
from mlflow_dspy_plugin.delivery.holds import HOLD, hold
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams import spans as span_seam
from mlflow_dspy_plugin.seams.mlflow_export import is_evaluating
from mlflow_dspy_plugin.tracing import predictions
from mlflow_dspy_plugin.tracing.content import Content, TraceContent
from mlflow_dspy_plugin.tracing.lm_calls import LMCall
from mlflow_dspy_plugin.tracing.spans import CONTENT, Opening

# Under this name code inherits that its calls are not to be traced.
_SILENCED = "silenced"
# Under this name code inherits what is told of each trace that begins in it, by its first span.
BEGUN = "begun"

_STACK, _MESSAGE = "exception.stacktrace", "exception.message"
# Numbers of its own: those of the `random` module are the program's, which may have seeded it.
_random = random.Random()


@dataclass(eq=False)
class Call:
    """A call that is under way.

    Attributes:
        span: Its span; None for a call that only silences what it calls.
        content: What its trace has stored so far.
        attach: Stores bytes beside the trace.
        opening: What its span says of itself.
        opens_trace: Whether the trace has no other span of this package above it.
        ends_trace: Whether its span is the root of the trace.
        lm_call: What is learnt of the LM call that this is, or is made by.
        is_lm: Whether it is one.
        notes: What its children have to tell each other, such as that an adapter has failed.
    """

    span: LiveSpan | None = None
    content: TraceContent | None = None
    attach: Callable[[str, bytes], str] | None = None
    opening: Opening | None = None
    opens_trace: bool = False
    ends_trace: bool = False
    context: Any = None
    handed_down: Any = None
    # What was being handled when the call began, which therefore did not interrupt it.
    interruption: BaseException | None = None
    lm_call: LMCall | None = None
    is_lm: bool = False
    notes: dict[str, Any] = field(default_factory=dict)

    def tell(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes of the span from values: what is content as the user allows, the rest as it is."""
        dump, fact, attach = self.content.dump, self.content.fact, self.attach
        content = CONTENT | self.opening.content if self.opening.content else CONTENT
        told = {key: dump(value, attach) if key in content else fact(value) for key, value in attributes.items()}
        span_seam.set_attributes(self.span, told)

    def add_event(self, name: str, **attributes: str) -> None:
        """Add an event to the span."""
        self.add(SpanEvent(name=name, attributes=attributes))

    def add_exception(self, exception: BaseException) -> None:
        """Record an exception; a provider may have put the caller's key into its message."""
        self.add(attempt(lambda: SpanEvent.from_exception(exception), lambda error: _unreadable(exception)))

    def add(self, event: SpanEvent) -> None:
        """Add an event to the span, what is content in it as the user allows."""
        told = {key: self._event_text(key, value, event) for key, value in event.attributes.items()}
        span_seam.add_event(self.span, SpanEvent(name=event.name, timestamp=event.timestamp, attributes=told))

    def _event_text(self, key: str, value: Any, event: SpanEvent) -> Any:
        if key == _STACK and not self.content.captures and (message := event.attributes.get(_MESSAGE)):
            # A line of it may look like one of the stack.
            value = value.replace(message, "")
        return self.content.text(value, is_stack=key == _STACK) if key in CONTENT else value


class Calls:
    """Opens and closes the spans of calls.

    Args:
        content: What may be written into spans, and how.
        sampling_ratio: The part of the calls from outside that is recorded, from 0 to 1; None for all. Of those that
            `mlflow.genai.evaluate` makes, which needs their traces, all are.
    """

    def __init__(self, content: Content, sampling_ratio: float | None = None):
        self._content = content
        self._ratio = sampling_ratio
        self._open: dict[str, Call] = {}
        # Traces in which a call is under way.
        self._opened: set[str] = set()
        # What they have stored so far; where a span of the user's is their root, until that ends.
        self._traces: dict[str, TraceContent] = {}

    def under_way(self, call_id: str | None) -> Call | None:
        """The call of this id, where it has a span."""
        call = self._open.get(call_id)
        return call if call is not None and call.span is not None else None

    def open(self, call_id: str, opening: Opening, inputs: Callable[[], Mapping[str, Any]]) -> Call | None:
        """Open the span of a call below the span of this context, and make it the one of this context."""
        parent = span_seam.current_span()
        span = self._sampled(opening, parent)
        if span is None:
            return None
        call = Call(opening=opening, context=span_seam.enter_span(span), interruption=dspy_seam.interruption())
        self._open[call_id] = call
        if isinstance(span, span_seam.Dropped):
            call.handed_down = handed_down.hand_down(**{_SILENCED: True})
            return None
        if parent is None and (holding := handed_down.inherited(HOLD)) is not None:
            hold(span.trace_id, holding)
        for tell in (handed_down.inherited(BEGUN) or ()) if parent is None else ():
            tell(span)
        call.span, call.attach, call.ends_trace = span, span_seam.attacher(span), parent is None
        call.opens_trace = span.trace_id not in self._opened
        if call.opens_trace:
            adopt()
            self._opened.add(span.trace_id)
        call.content = self._content_of(span.trace_id)
        # Only now: what cannot be read must not cost the span, or leave it open.
        call.tell({**opening.attributes, span_seam.INPUTS: inputs()})
        return call

    def _content_of(self, trace_id: str) -> TraceContent:
        content = self._traces.get(trace_id)
        if content is None:
            for other in [each for each in list(self._traces) if not span_seam.is_collected(each)]:
                self._traces.pop(other, None)
            content = self._traces[trace_id] = self._content.of_trace()
            content.learn(getattr(dspy.settings.lm, "kwargs", None) or {})
        return content

    def hand_down(self, call_id: str, values: Mapping[str, Any]) -> None:
        """Have what a call without a span calls inherit values."""
        self._open[call_id] = Call(handed_down=handed_down.hand_down(**values))

    def silence(self, call_id: str) -> None:
        """Have nothing traced below a call."""
        self.hand_down(call_id, {_SILENCED: True})

    def handed_down(self, call_id: str) -> Mapping[str, Any]:
        """What a call that is under way has handed down."""
        call = self._open.get(call_id)
        return call.handed_down.values if call is not None and call.handed_down is not None else {}

    def close(self, call_id: str, outputs: Any, exception: BaseException | None) -> None:
        """Close the span of a call, if it has one."""
        call = self._open.pop(call_id, None)
        if call is None:
            return
        if call.handed_down is not None:
            handed_down.take_back(call.handed_down)
        if call.context is not None:
            # Before it ends: a trace that has ended is no longer found in the context.
            span_seam.leave_span(call.context)
        if call.span is not None:
            passing = dspy_seam.interruption()
            if exception is None and outputs is None and passing is not call.interruption:
                exception = passing
            if isinstance(outputs, dspy.Prediction):
                predictions.remember(outputs, call.span.trace_id)
            self._end(call, outputs, exception)

    def _end(self, call: Call, outputs: Any, exception: BaseException | None) -> None:
        """End a span, whether or not what it ended with can be read."""
        try:
            if exception is not None:
                call.add_exception(exception)
            call.tell(call.opening.ending(outputs))
            for event in call.opening.events():
                call.add(event)
        finally:
            if call.opens_trace:
                self._opened.discard(call.span.trace_id)
                if call.ends_trace:
                    self._traces.pop(call.span.trace_id, None)
            span_seam.close_span(call.span, failed=exception is not None)

    def _sampled(self, opening: Opening, parent: LiveSpan | None) -> Any:
        if parent is None and self._ratio is not None and _random.random() >= self._ratio and not is_evaluating():
            return span_seam.DROPPED
        return span_seam.open_span(opening.name, opening.type, parent)


def is_silenced() -> bool:
    """Whether nothing is to be traced here."""
    return bool(handed_down.inherited(_SILENCED))


def _unreadable(exception: BaseException) -> SpanEvent:
    told = {"exception.type": type(exception).__name__, "exception.message": "<Unreadable>"}
    return SpanEvent(name="exception", attributes=told)

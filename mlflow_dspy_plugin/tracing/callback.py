"""When a span opens and closes, and nothing else: DSPy's events -> MLflow's spans."""

from collections.abc import Callable, Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.holds import HOLD, Hold
from mlflow_dspy_plugin.seams import dspy as dspy_seam
from mlflow_dspy_plugin.seams import handed_down, trace_context
from mlflow_dspy_plugin.seams import spans as span_seam
from mlflow_dspy_plugin.seams.programs import ends_agent
from mlflow_dspy_plugin.tracing import lm_calls, program, prompts, spans
from mlflow_dspy_plugin.tracing.calls import Call, Calls, is_silenced
from mlflow_dspy_plugin.tracing.content import Content
from mlflow_dspy_plugin.tracing.known_secrets import keys_of
from mlflow_dspy_plugin.tracing.retention import Retention, score_of

# Notes of a call: the adapter last used below it, whether something below it has failed, and which step it is.
_ADAPTER, _FAILURE, _STEP = "adapter", "failure", "step"


# Under this name code inherits what judges the traces of the compile that it is in.
_RETENTION = "retention"
# The value of `log_traces_from_compile` by which few of its traces are kept.
NOTABLE = "failed-and-best"
# In the `callback_metadata` of an evaluation whose calls are traced like others: while MLflow evaluates, it switches
# off all that begins with `log_` but `log_traces`, and so `log_traces_from_eval`.
AS_OTHERS = "traced_as_others"


class TracingCallback(dspy_seam.Watcher):
    """Opens a span at every `on_*_start` of DSPy and closes it at the `on_*_end` of the same call.

    Args:
        content: What may be written into spans, and how.
        sampling_ratio: The part of the calls from outside that is recorded, from 0 to 1; None for all.
        trace_compiles: Whether what runs inside an optimizer's `compile` is traced; `NOTABLE` for
            calls that fail and those of the best evaluation.
        trace_evaluations: Whether what runs inside `dspy.Evaluate` is traced.
    """

    def __init__(
        self,
        content: Content | None = None,
        *,
        sampling_ratio: float | None = None,
        trace_compiles: bool | str = False,
        trace_evaluations: bool = True,
    ):
        self._calls = Calls(content or Content(), sampling_ratio)
        self._trace_compiles = trace_compiles
        self._trace_evaluations = trace_evaluations

    def listens(self) -> bool:
        if not span_seam.is_tracing_enabled():
            span_seam.begin_nothing()
            return False
        return not is_silenced() and not trace_context.is_silenced()

    @never_raises
    def on_module_start(self, call_id, instance, inputs):
        # dspy 3.0 to 3.3 take a language model that is no `dspy.LM` for a module.
        if isinstance(instance, dspy.BaseLM):
            self._start_lm(call_id, instance, inputs)
            return
        call = self._start(call_id, spans.of_module(instance), inputs)
        if call is not None and call.opens_trace:
            program.describe(call, instance)
        if call is not None:
            prompts.link(call, instance)
        if call is not None and isinstance(instance, dspy.Retrieve):
            call.content.learn(keys_of(instance))

    @never_raises
    def on_lm_start(self, call_id, instance, inputs):
        self._start_lm(call_id, instance, inputs)

    @never_raises
    def on_adapter_format_start(self, call_id, instance, inputs):
        self._note_adapter(instance)
        self._start_adapter(call_id, instance, "format", inputs)

    @never_raises
    def on_adapter_parse_start(self, call_id, instance, inputs):
        self._start_adapter(call_id, instance, "parse", inputs)

    @never_raises
    def on_tool_start(self, call_id, instance, inputs):
        if not ends_agent(instance):
            self._start(call_id, spans.of_tool(instance), inputs)

    @never_raises
    def on_interpreter_execute_start(self, call_id, instance, inputs):
        self._start(call_id, spans.of_interpreter(instance, "execute"), inputs)

    @never_raises
    def on_interpreter_tool_call_start(self, call_id, instance, inputs):
        self._start(call_id, spans.of_interpreter(instance, "tool_call"), inputs)

    @never_raises
    def on_interpreter_startup_start(self, call_id, instance, inputs):
        self._start(call_id, spans.of_interpreter(instance, "startup"), inputs)

    @never_raises
    def on_retriever_start(self, call_id, instance, inputs):
        self._start_client(call_id, instance, spans.of_retriever(instance), inputs)

    @never_raises
    def on_embedder_start(self, call_id, instance, inputs):
        self._start_client(call_id, instance, spans.of_embedder(instance), inputs)

    @never_raises
    def on_evaluate_start(self, call_id, instance, inputs):
        if not self.installed:
            return
        metadata = inputs.get("callback_metadata") or {}
        if not self._trace_evaluations and not metadata.get(AS_OTHERS):
            self._calls.silence(call_id)
        elif (retention := handed_down.inherited(_RETENTION)) is not None:
            self._calls.hand_down(call_id, {_RETENTION: retention, HOLD: Hold()})

    @never_raises
    def on_compile_start(self, call_id, instance, inputs):
        if not self.installed:
            return
        if not self._trace_compiles:
            self._calls.silence(call_id)
        elif self._trace_compiles == NOTABLE and handed_down.inherited(_RETENTION) is None:
            retention = Retention()
            self._calls.hand_down(call_id, {_RETENTION: retention, HOLD: retention.outside})

    @never_raises
    def on_module_end(self, call_id, outputs, exception=None):
        self._calls.close(call_id, outputs, exception)

    # Closing a call is the same whatever kind it is of, but for what follows.
    on_tool_end = on_module_end
    on_adapter_format_end = on_module_end
    on_interpreter_execute_end = on_module_end
    on_interpreter_tool_call_end = on_module_end
    on_interpreter_startup_end = on_module_end
    on_retriever_end = on_module_end
    on_embedder_end = on_module_end

    @never_raises
    def on_evaluate_end(self, call_id, outputs, exception=None):
        handed = self._calls.handed_down(call_id)
        self._calls.close(call_id, outputs, exception)
        if _RETENTION in handed:
            handed[_RETENTION].judge(handed[HOLD], score_of(outputs))

    @never_raises
    def on_compile_end(self, call_id, outputs, exception=None):
        handed = self._calls.handed_down(call_id)
        self._calls.close(call_id, outputs, exception)
        if _RETENTION in handed:
            handed[_RETENTION].finish()

    @never_raises
    def on_lm_end(self, call_id, outputs, exception=None):
        self._calls.close(call_id, outputs, exception)
        self._note_failure(exception)

    @never_raises
    def on_adapter_parse_end(self, call_id, outputs, exception=None):
        self._calls.close(call_id, outputs, exception)
        self._note_failure(exception)
        if exception is not None and (parent := self._caller()) is not None:
            failed = parent.notes.get(_ADAPTER, "")
            parent.add_event("dspy.adapter.parse_failed", adapter=failed, error=str(exception))

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
        call = self._caller()
        return call.lm_call if call is not None and call.is_lm else None

    def _start(self, call_id: str, opening: spans.Opening, inputs: Mapping[str, Any]) -> Call | None:
        return self._open(call_id, opening, lambda: spans.inputs_of(inputs))

    def _start_client(self, call_id: str, client: Any, opening: spans.Opening, inputs: Mapping[str, Any]) -> None:
        call = self._start(call_id, opening, inputs)
        if call is not None:
            call.content.learn(keys_of(client))

    def _start_adapter(self, call_id: str, adapter: Any, step: str, inputs: Mapping[str, Any]) -> None:
        """Open the span of a step, once: DSPy tells of it again for each class that inherits the method."""
        caller = self._caller()
        if caller is not None and caller.notes.get(_STEP) == (adapter, step):
            return
        call = self._start(call_id, spans.of_adapter(adapter, step), inputs)
        if call is not None:
            call.notes[_STEP] = (adapter, step)

    def _start_lm(self, call_id: str, lm: Any, inputs: Mapping[str, Any]) -> None:
        caller = self._caller()
        lm_call = lm_calls.LMCall(caller.lm_call if caller is not None else None)
        call = self._open(call_id, lm_calls.opening(lm, inputs, lm_call), lambda: lm_calls.request(lm, inputs))
        if call is not None:
            call.lm_call, call.is_lm = lm_call, True
            call.content.learn(keys_of(lm))

    def _open(self, call_id: str, opening: spans.Opening, inputs: Callable[[], Mapping[str, Any]]) -> Call | None:
        # What has been uninstalled while DSPy was about to call it begins nothing.
        call = self._calls.open(call_id, opening, inputs) if self.installed else None
        if call is not None and (caller := self._caller()) is not None:
            call.lm_call = caller.lm_call
        return call

    def _caller(self) -> Call | None:
        """The call that the current code runs in; inside a handler, the one that made the call."""
        return self._calls.under_way(dspy_seam.active_call_id())

    def _note_failure(self, exception: BaseException | None) -> None:
        if exception is not None and (caller := self._caller()) is not None:
            caller.notes[_FAILURE] = True

    def _note_adapter(self, adapter: Any) -> None:
        """Tell of a fallback: after a failure the same caller tries another adapter."""
        caller = self._caller()
        if caller is None:
            return
        name, before = type(adapter).__name__, caller.notes.get(_ADAPTER)
        if caller.notes.pop(_FAILURE, False) and before not in (None, name):
            caller.add_event("dspy.adapter.fallback", **{"from": before, "to": name})
        caller.notes[_ADAPTER] = name

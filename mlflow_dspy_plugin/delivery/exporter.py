"""The exporter that stands in MLflow's place: it hands whole traces over, and the program goes on."""

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.delivery.holds import held_by
from mlflow_dspy_plugin.delivery.worker import Delivery
from mlflow_dspy_plugin.seams import ended_traces, mlflow_export

# Roots that wait for spans below them; of more, the oldest goes out as it is.
_MAX_DEFERRED = 1000


class Exporter(SpanExporter):
    """Hands a trace to its delivery when the last of its spans has ended.

    Args:
        theirs: MLflow's own exporter, in whose place it stands.
        delivery: Where the traces go.

    Attributes:
        waits: The program waits until a trace is stored, as the user has asked for.
    """

    def __init__(self, theirs: SpanExporter, delivery: Delivery) -> None:
        self.theirs, self.delivery = theirs, delivery
        self.waits = mlflow_export.user_wants_to_wait()
        # Roots that have ended before spans below them, by the id of their trace.
        self._deferred: dict[int, ReadableSpan] = {}
        # MLflow looks for these on an exporter, to write by the same client and to flush.
        self._client = mlflow_export.client_of(theirs)
        self._async_queue = _Queue(delivery)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans that have ended."""
        for span in spans:
            self._ended(span)
        return SpanExportResult.SUCCESS

    @never_raises
    def _ended(self, span: ReadableSpan) -> None:
        parent = span.parent
        if parent is None:
            self._root_ended(span)
        elif self._deferred and span.context.trace_id in self._deferred:
            self._release(span.context.trace_id)
        if parent is not None and parent.is_remote and (part := ended_traces.take_part(span)):
            self.delivery.put(part)

    def _root_ended(self, root: ReadableSpan) -> None:
        if not ended_traces.has_open_spans(root):
            self._hand_over(root)
            return
        self.defer(root)

    def defer(self, root: ReadableSpan) -> None:
        """Hold a trace back until the last of its spans has ended."""
        self._deferred[root.context.trace_id] = root
        # It may have ended meanwhile.
        self._release(root.context.trace_id)
        if len(self._deferred) > _MAX_DEFERRED:
            self._supersede(next(iter(self._deferred)))

    def _release(self, trace_id: int) -> None:
        root = self._deferred.get(trace_id)
        if root is not None and not ended_traces.has_open_spans(root):
            self._supersede(trace_id)

    def _supersede(self, trace_id: int) -> None:
        # Of several threads, one gets it.
        if (root := self._deferred.pop(trace_id, None)) is not None:
            self._hand_over(root)

    def _hand_over(self, root: ReadableSpan) -> None:
        trace = ended_traces.take(root)
        if trace is None:
            return
        if (holding := held_by(trace.trace_id)) is not None:
            holding.take(trace, self._send)
        else:
            self._send(trace)

    def _send(self, trace: ended_traces.Ended) -> None:
        evaluating = mlflow_export.is_evaluating()
        if not evaluating and mlflow_export.displays_traces():
            mlflow_export.display(trace.whole())
        if evaluating or self.waits:
            self.delivery.write_now(trace)
        else:
            self.delivery.put(trace)

    def forget(self) -> None:
        """Begin anew in a process that was forked."""
        self._deferred.clear()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until the traces are written."""
        return self.delivery.flush(timeout_millis / 1000)

    @never_raises
    def shutdown(self) -> None:
        """Hand over what still waits for spans to end; what comes later is taken as well."""
        for trace_id in list(self._deferred):
            self._supersede(trace_id)


class _Queue:
    """What MLflow's functions that flush ask of the queue of its own exporter."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def flush(self, terminate: bool = False) -> None:
        """Wait until the traces are written; a time only where MLflow, or a user, wants the threads to end."""
        self._delivery.flush(self._delivery.limits.exit_seconds if terminate else None)

    def activate(self) -> None:
        """Be ready while threads can still be started."""
        self._delivery.start()

    def is_active(self) -> bool:
        """Whether traces are taken."""
        return True

"""What becomes of traces that were not written: kept on disk, or dropped and counted."""

import logging

from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.delivery.notices import Notices
from mlflow_dspy_plugin.delivery.spool import Segment, Spool, SpoolFull
from mlflow_dspy_plugin.names import ENV_SPOOL_DIR, ENV_SPOOL_MAX_MB
from mlflow_dspy_plugin.seams.ended_traces import Ended, from_line, to_line
from mlflow_dspy_plugin.seams.refusals import Kind, Refusal

# How often a trace may break a store that takes others meanwhile.
_ATTEMPTS = 3
_KEPT = "They are kept in %s and sent when it does."
_REASONS = {
    Kind.UNREACHABLE: f"The tracking store %s does not take traces now (%s). {_KEPT}",
    Kind.DENIED: f"The tracking store %s does not accept the credentials for traces (%s). Renew them. {_KEPT}",
    Kind.BROKEN: f"The tracking store %s has failed on a trace (%s). {_KEPT}",
    Kind.INCOMPLETE: "The tracking store %s has a trace without the files that belong to it (%s).%.0s",
}


class Keeper:
    """The spool of one store, with the counting and telling of what goes in and what is lost.

    Args:
        uri: The tracking URI.
        spool: Where traces are kept.
    """

    def __init__(self, uri: str, spool: Spool) -> None:
        self._uri, self.spool = uri, spool
        self._notices = Notices()
        self.dropped = 0
        # Trace id -> how often it broke the store, and how many traces the store had taken by then.
        self._suspects: dict[str, tuple[int, int]] = {}

    def keep(self, trace: Ended) -> None:
        """Put a trace on disk."""
        try:
            self.spool.append(to_line(trace))
        except SpoolFull:
            hint = f"Set {ENV_SPOOL_MAX_MB} higher, or see why the store takes no traces."
            self._drop("full", f"The spool {self.spool.folder} is full; newer traces are dropped. {hint}")
        except (ValueError, TypeError, MlflowException) as error:
            self._drop("text", f"A trace cannot be kept as text; it is dropped ({error!r}).")
        except OSError as error:
            hint = f"Set {ENV_SPOOL_DIR} to a folder that can be written."
            self._drop("disk", f"The spool {self.spool.folder} cannot be written ({error}); traces are dropped. {hint}")

    def is_hopeless(self, trace: Ended, refusal: Refusal, written: int) -> bool:
        """Whether there is no use in trying a refused trace again; then it is given up.

        Args:
            trace: The trace.
            refusal: Why it was refused.
            written: How many traces the store has taken so far.
        """
        hopeless = refusal.kind is Kind.REJECTED or refusal.kind is Kind.BROKEN and self._breaks(trace, written)
        if hopeless:
            self._suspects.pop(trace.trace_id, None)
            error = refusal.error
            kind = f"lost {type(error).__name__} {getattr(error, 'error_code', '')}"
            self._drop(kind, f"The tracking store {self._uri} rejects a trace, which is dropped ({error}).")
        return hopeless

    def _breaks(self, trace: Ended, written: int) -> bool:
        """Whether it is the trace that breaks the store: others were taken between its attempts."""
        attempts, before = self._suspects.get(trace.trace_id, (0, -1))
        attempts += written > before
        self._suspects[trace.trace_id] = attempts, written
        return attempts > _ATTEMPTS

    def tell(self, refusal: Refusal) -> None:
        """Say what the store does not take, and where it is."""
        level = logging.ERROR if refusal.kind is Kind.DENIED else logging.WARNING
        values = (self._uri, refusal.error, self.spool.folder)
        self._notices.tell_once(refusal.kind.value, _REASONS[refusal.kind], *values, level=level)

    def read(self, segment: Segment, count: int) -> tuple[list[bytes], list[Ended]]:
        """The next lines of a file, and the traces in them."""
        lines, traces = segment.read(count), []
        for line in lines:
            try:
                traces.append(from_line(line))
            except Exception as error:  # whatever is in a file of another release
                self._drop("line", f"A line of the spool {segment.path} is no trace ({error!r}); it is dropped.")
        return lines, traces

    def _drop(self, kind: str, message: str) -> None:
        self.dropped += 1
        self._notices.tell_once(kind, "%s", message)

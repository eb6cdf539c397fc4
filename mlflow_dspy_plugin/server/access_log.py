"""One line of JSON for each request, through `logging`; written behind, so that no request waits for whoever reads.

Nothing that a client wrote is in it but the request's id: no body, no key, no query.
"""

import json
import logging
import sys
import threading
from collections import deque
from datetime import datetime, timezone
from typing import Any, TextIO

from mlflow.tracing.constant import TokenUsageKey

from mlflow_dspy_plugin.boundary import never_raises
from mlflow_dspy_plugin.server.observing import Request

LOGGER = "mlflow_dspy_plugin.access"
_SECONDS_BEHIND = 0.25
# Some seconds of a server at its limit; lines beyond are counted instead.
_MOST_LINES = 10_000


class AccessLog:
    """Logs each request once it has ended, as an observer of them."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(LOGGER)

    def begin(self, request: Request) -> None:
        """There is nothing to say yet."""

    def end(self, request: Request) -> None:
        """Log it."""
        if self._logger.isEnabledFor(logging.INFO):
            text = json.dumps(line_of(request), separators=(",", ":"))
            # Where in the code a line was logged takes long to find, and says nothing.
            self._logger.handle(logging.LogRecord(LOGGER, logging.INFO, "", 0, text, None, None))


def line_of(request: Request) -> dict[str, Any]:
    """What is logged of a request; what is not known of it is left out."""
    told = {
        "time": datetime.fromtimestamp(request.began, timezone.utc).isoformat(timespec="milliseconds"),
        "request_id": request.request_id,
        "method": request.method,
        "path": request.path or None,
        "model": request.model,
        "version": request.version,
        "status": request.status,
        "seconds": round(request.seconds, 6),
        "queue_seconds": round(request.queue_seconds, 6) if request.model else None,
        "received_bytes": request.received,
        "sent_bytes": request.sent,
        "input_tokens": int(request.meter.total(TokenUsageKey.INPUT_TOKENS)) or None,
        "output_tokens": int(request.meter.total(TokenUsageKey.OUTPUT_TOKENS)) or None,
        "trace_id": request.trace_id,
        "key": request.key,
    }
    return {name: value for name, value in told.items() if value is not None}


def start_access_log(stream: TextIO | None = None) -> "Behind | None":
    """Have the lines written to standard output, unless logging is configured to take them elsewhere.

    Returns:
        What writes them, to be closed at the end; None where others do.
    """
    logger = logging.getLogger(LOGGER)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if logger.handlers:
        return None
    return Behind(stream or sys.stdout, logger)


class Behind(logging.Handler):
    """Writes lines in a thread of its own, some at a time.

    Args:
        stream: Where to.
        logger: Whose lines they are, until this is closed.
    """

    def __init__(self, stream: TextIO, logger: logging.Logger) -> None:
        super().__init__()
        self._stream, self._logger = stream, logger
        self._lines: deque[str] = deque()
        self._lost = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="mlflow-dspy-access-log", daemon=True)
        self._thread.start()
        logger.addHandler(self)
        # Lines of JSON stand alone: the root logger would write them again, in its own form.
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line; one too many is lost, and the next says so."""
        if len(self._lines) < _MOST_LINES:
            self._lines.append(self.format(record))
        else:
            self._lost += 1

    def close(self) -> None:
        """Write what is left, if somebody takes it."""
        self._logger.removeHandler(self)
        self._logger.propagate = True
        self._ended.set()
        self._thread.join(timeout=1)
        super().close()

    def _write_on(self) -> None:
        while not self._ended.wait(_SECONDS_BEHIND):
            self._write()
        self._write()

    @never_raises
    def _write(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if self._lost:
            lines.append(json.dumps({"lost_lines": self._lost}))
            self._lost = 0
        if lines:
            self._stream.write("\n".join(lines) + "\n")
            self._stream.flush()

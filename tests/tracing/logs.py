"""Reads the log where it is written.

MLflow 3.4 replaces the handlers of the root logger, pytest's too, when it makes a store.
"""

import contextlib
import logging
from collections.abc import Iterator

_LOGGERS = ("mlflow.tracing", "mlflow_dspy_plugin", "opentelemetry", "dspy")


class _Collecting(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name}: {record.getMessage()}")


@contextlib.contextmanager
def warnings_logged() -> Iterator[list[str]]:
    """The warnings and errors of everybody who has a part in tracing, as "logger: message"."""
    handler = _Collecting()
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield handler.messages
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)

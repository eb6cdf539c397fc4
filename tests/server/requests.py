"""Requests as the gate makes them, observed while a program answers."""

import contextlib
from collections.abc import Mapping

from mlflow_dspy_plugin.server.observing import Observer, Request, observed


@contextlib.contextmanager
def answering(*observers: Observer, headers: Mapping[str, str] | None = None, **known: object):
    """A block that answers a request with these headers."""
    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request("request-1", "POST", raw, **{"path": "/invocations", "model": "qa", "version": "3", **known})
    with observed(request, observers):
        yield request

"""Why a tracking store does not take something, and how it is asked without MLflow's minutes of retries."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import requests
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import MlflowException
from mlflow.utils.rest_utils import http_request

from mlflow_dspy_plugin.seams.patch import patch

_PROBE_SECONDS = 3
# How MLflow tells of a status after which it would repeat a request.
_REPEATED = re.compile(r"too many (\d{3}) error responses")
# Set in a thread whose requests are not to be repeated.
_thread = threading.local()


class Kind(Enum):
    """Why something was not written, which decides what becomes of it."""

    UNREACHABLE = "unreachable"  # Nobody answers, or asks to be left alone for now.
    DENIED = "denied"  # The credentials are not accepted.
    BROKEN = "broken"  # The store has failed on it.
    REJECTED = "rejected"  # It will never be taken.
    INCOMPLETE = "incomplete"  # It is written, but for the files that belong to it.

    @property
    def is_of_the_store(self) -> bool:
        """Whether it holds for every other trace as well."""
        return self in (Kind.UNREACHABLE, Kind.DENIED)


class Refusal(NamedTuple):
    """That something was not written, and why."""

    kind: Kind
    error: Exception


# What a lost connection raises where MLflow does not wrap it.
_LOST = (ConnectionError, TimeoutError, requests.ConnectionError, requests.Timeout)
# Statuses of HTTP, which MLflow's errors carry for stores in the process too.
_KINDS = {
    **dict.fromkeys((401, 403), Kind.DENIED),
    **dict.fromkeys((408, 425, 429, 502, 503, 504), Kind.UNREACHABLE),
}


def is_a_server(store: Any) -> bool:
    """Whether a tracking store is reached over HTTP."""
    return hasattr(store, "get_host_creds")


def probe(store: Any) -> Refusal | None:
    """Ask a server whether it is there; a store in this process always is."""
    if not is_a_server(store):
        return None
    try:
        options = {"max_retries": 0, "timeout": _PROBE_SECONDS, "raise_on_status": False}
        status = http_request(store.get_host_creds(), "/health", "GET", **options).status_code
    except Exception as error:
        return Refusal(Kind.UNREACHABLE, error)
    if status >= 500 or status == 429:
        return Refusal(Kind.UNREACHABLE, MlflowException(f"The tracking server answers with status {status}."))
    return None


def refusal_of(store: Any, error: Exception) -> Refusal:
    """What an error of a tracking store means."""
    if isinstance(error, _LOST):
        return Refusal(Kind.UNREACHABLE, error)
    if not isinstance(error, MlflowException):
        return Refusal(Kind.BROKEN if isinstance(error, OSError) else Kind.REJECTED, error)
    told = _REPEATED.search(str(error))
    status = int(told[1]) if told else error.get_http_status_code()
    kind = _KINDS.get(status, Kind.BROKEN if status >= 500 else Kind.REJECTED)
    # MLflow tells of a lost connection as of an error of the server.
    absent = probe(store) if kind is Kind.BROKEN else None
    return Refusal(absent.kind if absent else kind, error)


def requests_at_once() -> Callable[[], None]:
    """Let requests of MLflow fail at once in blocks of `at_once`: it would repeat them for minutes, in silence.

    MLflow knows no such setting but one for the whole process, which is left as it is elsewhere.

    Returns:
        Takes it back.
    """

    def make(original):
        return lambda: 0 if getattr(_thread, "at_once", False) else original()

    return patch(MLFLOW_HTTP_REQUEST_MAX_RETRIES, "get", make)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """A block whose requests MLflow does not repeat, while `requests_at_once` holds."""
    _thread.at_once = True
    try:
        yield
    finally:
        _thread.at_once = False

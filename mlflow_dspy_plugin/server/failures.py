"""What a request ended in, when that is no answer -> a status and a body that tell the client what to do.

Messages go out to strangers: no traceback, no path of this machine and no secret is in them.
"""

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.exceptions import MlflowException
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mlflow_dspy_plugin.redaction import redact_assignments, redact_text
from mlflow_dspy_plugin.seams.invocations import UnsupportedError
from mlflow_dspy_plugin.serving.admission import BusyError

_logger = logging.getLogger("mlflow_dspy_plugin.server")
_LONGEST = 4_000
_OPENAI_PATHS = "/v1/"
# Whoever may come back is told when: soon, since a place is free again as soon as any request ends.
_RETRY_AFTER = {"Retry-After": "1"}
# Of two parts at least, and none of the server's own; what stands after a host is of a URL.
_PATH = re.compile(r"(?<![\w:/.])(?!/v1/)(?:/[^\s/'\"`,;:()\[\]{}<>]+){2,}/?|\b[A-Za-z]:\\[^\s'\"`,;()<>]+")
_LOCAL_URI = re.compile(r"\b(?:file|sqlite):/+[^\s'\"`,;()<>]+")
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Failure:
    """What a client is told.

    Attributes:
        status: Of HTTP.
        code: MLflow's word for it.
        message: What is wrong and what to do.
        headers: Beside.
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, path: str) -> dict[str, Any]:
        """As the protocol of a path has it: OpenAI's, else MLflow's."""
        if not path.startswith(_OPENAI_PATHS):
            return {"error_code": self.code, "message": self.message}
        kind, code = _OPENAI.get(self.status, _OPENAI_REQUEST if self.status < 500 else _OPENAI_SERVER)
        if self.status == 404 and self.code != _NO_MODEL:
            code = None
        return {"error": {"message": self.message, "type": kind, "param": None, "code": code}}

    def response(self, path: str) -> Response:
        """The answer to a request of a path."""
        content = json.dumps(self.body(path))
        return Response(content, self.status, dict(self.headers), media_type="application/json")


# MLflow's codes -> the status. MLflow's own table speaks for a service whose own these failures are; here they are
# told by the program's language model.
_STATUSES: Mapping[str, int] = {
    "INVALID_PARAMETER_VALUE": 400,
    "BAD_REQUEST": 400,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "NOT_FOUND": 404,
    "ENDPOINT_NOT_FOUND": 404,
    # The server's key at the provider, and not the client's key here, is refused: no other key of theirs would help.
    "UNAUTHENTICATED": 502,
    "CUSTOMER_UNAUTHORIZED": 502,
    "PERMISSION_DENIED": 502,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "RESOURCE_EXHAUSTED": 429,
    "NOT_IMPLEMENTED": 501,
    # The provider is down or has broken off, or here is no room: both pass.
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# The status of what the server itself refuses -> MLflow's code; for others its own table.
_CODES: Mapping[int, str] = {
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# The status -> OpenAI's type and code.
_OPENAI_REQUEST: tuple[str, str | None] = ("invalid_request_error", None)
_OPENAI_SERVER: tuple[str, str | None] = ("server_error", None)
_OPENAI: Mapping[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("server_error", "service_unavailable"),
    504: ("server_error", "timeout"),
}
# What MLflow says of a model that is not there; other paths may lack too.
_NO_MODEL = "RESOURCE_DOES_NOT_EXIST"
# Of what the server itself refuses: the program of another may have done something that must not be done again.
RETRIED = (429, 503)


def failure_of(error: Exception) -> Failure:
    """What is told of an exception. Of one that nobody foresaw nothing is: the log has it, by the request's id."""
    if isinstance(error, HTTPException):
        otherwise = "BAD_REQUEST" if error.status_code < 500 else "INTERNAL_ERROR"
        code = _CODES.get(error.status_code, otherwise)
        retry = _RETRY_AFTER if error.status_code in RETRIED else {}
        return _failure(error.status_code, code, str(error.detail), {**retry, **(error.headers or {})})
    if isinstance(error, BusyError):
        return _failure(503, error.error_code, error.message, _RETRY_AFTER)
    if isinstance(error, UnsupportedError):
        return _failure(error.status, "BAD_REQUEST", error.message, {})
    if isinstance(error, MlflowException):
        return _failure(_STATUSES.get(error.error_code, 500), error.error_code, error.message, {})
    return Failure(500, "INTERNAL_ERROR", "The server failed. Its log has why, by the answer's X-Request-Id.")


def log_fault(error: Exception, request_id: str, failure: Failure) -> None:
    """Log what is the server's or the program's own fault, with its traceback: the client is not told that."""
    if failure.status == 500:
        _logger.error("Request %s failed.", request_id, exc_info=error)


def _failure(status: int, code: str, message: str, headers: Mapping[str, str]) -> Failure:
    return Failure(status, code, _told(message), headers)


def _told(message: str) -> str:
    # Before the rest, which takes its time: some quote all that they were given.
    cut = message[: _LONGEST + 1].partition(_TRACEBACK)[0]
    told = _PATH.sub("<path>", _LOCAL_URI.sub("<path>", redact_text(redact_assignments(cut))))
    return told if len(cut) <= _LONGEST else f"{told[:_LONGEST]}..."

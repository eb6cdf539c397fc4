"""What a client is told of an exception."""

import json

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2
from starlette.exceptions import HTTPException

from mlflow_dspy_plugin.errors import CallError, InputError
from mlflow_dspy_plugin.server.failures import failure_of
from mlflow_dspy_plugin.serving.admission import BusyError

KEY = "sk-failures-canary-0a1b2c3d4e5f60718293"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InputError("x"), 400, "INVALID_PARAMETER_VALUE"),
        (CallError("x"), 500, "INTERNAL_ERROR"),
        (CallError("x", databricks_pb2.UNAUTHENTICATED), 502, "UNAUTHENTICATED"),
        (CallError("x", databricks_pb2.REQUEST_LIMIT_EXCEEDED), 429, "REQUEST_LIMIT_EXCEEDED"),
        (CallError("x", databricks_pb2.TEMPORARILY_UNAVAILABLE), 503, "TEMPORARILY_UNAVAILABLE"),
        (CallError("x", databricks_pb2.DEADLINE_EXCEEDED), 504, "DEADLINE_EXCEEDED"),
        (MlflowException("x", databricks_pb2.RESOURCE_DOES_NOT_EXIST), 404, "RESOURCE_DOES_NOT_EXIST"),
        (MlflowException("x", databricks_pb2.PERMISSION_DENIED), 502, "PERMISSION_DENIED"),
        (HTTPException(413, "x"), 413, "BAD_REQUEST"),
        (HTTPException(504, "x"), 504, "DEADLINE_EXCEEDED"),
        (KeyError("x"), 500, "INTERNAL_ERROR"),
    ],
    ids=repr,
)
def test_an_exception_has_its_status_and_mlflow_s_code(error, status, code):
    failure = failure_of(error)
    assert (failure.status, failure.code) == (status, code)
    assert json.loads(failure.response("/invocations").body) == {"error_code": code, "message": failure.message}
    assert set(json.loads(failure.response("/v1/responses").body)["error"]) == {"message", "type", "param", "code"}


def test_nothing_is_told_of_what_nobody_foresaw():
    assert failure_of(ValueError(KEY)).message == "The server failed. Its log has why, by the answer's X-Request-Id."


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("No file '/srv/models/a b.json'.", "No file '<path> b.json'."),
        ("cannot open /etc/passwd: denied", "cannot open <path>: denied"),
        (r"no C:\Users\bear\x.json here", "no <path> here"),
        ("see https://example.org/a/b and 1/2 or and/or", "see https://example.org/a/b and 1/2 or and/or"),
        ("GET /v1/models lists them; /invocations does not", "GET /v1/models lists them; /invocations does not"),
        ('It failed.\nTraceback (most recent call last):\n  File "x.py", line 3', "It failed.\n"),
        (f"refused {KEY}", "refused [REDACTED]"),
        ("no artifact: file:///srv/mlruns/1/x, sqlite:////srv/x.db", "no artifact: <path>, <path>"),
        ("a" * 5000, "a" * 4000 + "..."),
    ],
)
def test_a_message_tells_no_path_no_traceback_and_no_key(message, told):
    assert failure_of(MlflowException(message)).message == told


def test_whoever_may_come_back_is_told_when():
    told = {status: failure_of(HTTPException(status, "x")).headers for status in (400, 429, 503, 504)}
    assert told == {400: {}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "1"}, 504: {}}
    assert failure_of(BusyError("x", databricks_pb2.TEMPORARILY_UNAVAILABLE)).headers == {"Retry-After": "1"}


def test_nobody_is_told_to_ask_a_program_again_that_has_run():
    """It may have done something by then that is not to be done twice."""
    assert failure_of(CallError("x", databricks_pb2.TEMPORARILY_UNAVAILABLE)).headers == {}


def test_what_quotes_a_long_input_is_cut_before_it_is_looked_through():
    # By redaction alone it would take minutes.
    shown = failure_of(MlflowException("key=" * 10_000_000)).message
    assert len(shown) <= 4_003


def test_only_a_model_that_is_not_there_is_one_that_openai_s_clients_are_told_of():
    missing = failure_of(MlflowException("x", databricks_pb2.RESOURCE_DOES_NOT_EXIST))
    assert missing.body("/v1/chat/completions")["error"]["code"] == "model_not_found"
    assert failure_of(HTTPException(404)).body("/v1/embeddings")["error"]["code"] is None

"""What went wrong between DSPy and a language model, whichever library told it."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    REQUEST_LIMIT_EXCEEDED,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)

# dspy >= 3.2 has exceptions of its own; before, and where it is the engine, those of LiteLLM come through.
_LIBRARIES = ("dspy", "litellm", "openai")


@dataclass(frozen=True)
class LMFailure:
    """A kind of failure.

    Attributes:
        what: It, in words, with what to do.
        code: MLflow's error code for it.
    """

    what: str
    code: int


_KEY = LMFailure("The language model refused the key. Set the variable that it is read from", UNAUTHENTICATED)
_LIMIT = LMFailure(
    "The language model's provider takes no more requests now. Send fewer at a time, or later", REQUEST_LIMIT_EXCEEDED
)
_TIMEOUT = LMFailure("The language model did not answer in time", DEADLINE_EXCEEDED)
_DOWN = LMFailure("The language model cannot be reached, or failed", TEMPORARILY_UNAVAILABLE)
_REQUEST = LMFailure("The language model's provider refused the request", BAD_REQUEST)
_OTHER = LMFailure("The call of the language model failed", INTERNAL_ERROR)

_KINDS: Mapping[str, LMFailure] = {
    "LMAuthError": _KEY,
    "LMNotConfiguredError": _KEY,
    "AuthenticationError": _KEY,
    "PermissionDeniedError": _KEY,
    "LMRateLimitError": _LIMIT,
    "LMBillingError": _LIMIT,
    "RateLimitError": _LIMIT,
    "LMTimeoutError": _TIMEOUT,
    "Timeout": _TIMEOUT,
    "APITimeoutError": _TIMEOUT,
    "LMTransportError": _DOWN,
    "LMServerError": _DOWN,
    "LMStreamAssemblyError": _DOWN,
    "APIConnectionError": _DOWN,
    "InternalServerError": _DOWN,
    "ServiceUnavailableError": _DOWN,
    "BadGatewayError": _DOWN,
    "ContextWindowExceededError": _REQUEST,
    "LMInvalidRequestError": _REQUEST,
    "BadRequestError": _REQUEST,
    "NotFoundError": _REQUEST,
    "LMError": _OTHER,
    "APIError": _OTHER,
}


def lm_failure(error: BaseException) -> LMFailure | None:
    """What kind of a language model's failure an exception is; None of any other."""
    known = (cls.__name__ for cls in type(error).__mro__ if cls.__module__.split(".")[0] in _LIBRARIES)
    failure = next((_KINDS[name] for name in known if name in _KINDS), None)
    return _TIMEOUT if failure is _DOWN and _is_timeout(error) else failure


def _is_timeout(error: BaseException | None) -> bool:
    """Whether it is caused by one; dspy >= 3.4 calls a connection that is silent for too long broken."""
    while error is not None and "Timeout" not in type(error).__name__:
        error = error.__cause__
    return error is not None

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
UNREADABLE = LMFailure("The language model's answer could not be read", INTERNAL_ERROR)
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
    # A param that it does not take.
    "LMUnsupportedFeatureError": _REQUEST,
    "BadRequestError": _REQUEST,
    "NotFoundError": _REQUEST,
    "AdapterParseError": UNREADABLE,
    "UnprocessableEntityError": _REQUEST,
    # An answer that is none of its protocol: a gateway's page.
    "LMProviderError": _DOWN,
    "APIResponseValidationError": _DOWN,
    "APIStatusError": _OTHER,
    "LMError": _OTHER,
    "APIError": _OTHER,
}


# What libraries tell by its status alone; 5xx beside.
_STATUSES: Mapping[int, LMFailure] = {401: _KEY, 402: _LIMIT, 403: _KEY, 408: _TIMEOUT, 429: _LIMIT}


def lm_failure(error: BaseException) -> LMFailure | None:
    """What kind of a language model's failure an exception is by itself; None of any other."""
    ours = [cls.__name__ for cls in type(error).__mro__ if cls.__module__.split(".")[0] in _LIBRARIES]
    failure = next((_KINDS[name] for name in ours if name in _KINDS), None)
    if failure is None:
        return None
    failure = _by_status(getattr(error, "status_code", None)) or failure
    return _TIMEOUT if failure is _DOWN and _is_timeout(error) else failure


def chain_of(error: BaseException, before: BaseException | None = None) -> list[BaseException]:
    """An exception and all that has led to it, the nearest first; nothing from `before` on."""
    chain: dict[int, BaseException] = {}
    ahead: list[object] = [error]
    for each in ahead:
        if isinstance(each, BaseException) and each is not before and id(each) not in chain:
            chain[id(each)] = each
            # A group's own, and what LiteLLM keeps of a stream that broke off.
            others = (*getattr(each, "exceptions", ()), getattr(each, "original_exception", None))
            ahead += [each.__cause__, each.__context__, *others]
    return list(chain.values())


def _by_status(status: object) -> LMFailure | None:
    if not isinstance(status, int) or status < 400:
        return None
    return _STATUSES.get(status) or (_DOWN if status >= 500 else _REQUEST)


def _is_timeout(error: BaseException) -> bool:
    """Whether it is caused by one; dspy >= 3.4 calls a connection that is silent for too long broken."""
    return any("Timeout" in type(each).__name__ for each in chain_of(error))

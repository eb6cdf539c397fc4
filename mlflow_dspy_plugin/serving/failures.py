"""What calling the program raised -> what `predict` raises, or answers in the row's place."""

import contextlib
import sys
from collections.abc import Iterator

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ErrorCode

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.errors import CallError, InputError
from mlflow_dspy_plugin.redaction import redact_assignments, redact_text
from mlflow_dspy_plugin.seams.lm_errors import chain_of, lm_failure
from mlflow_dspy_plugin.tracing.known_secrets import EnvironmentSecrets

# A language model's answer that cannot be read stands in DSPy's error as a whole.
_LONGEST = 4_000
_environment = EnvironmentSecrets()


@contextlib.contextmanager
def failing_clearly(row: str | None = None, did: str = "the program raised") -> Iterator[None]:
    """Raise what `explained` makes of what is raised in the block; an interrupt of the user's leaves as it is."""
    # What the caller handles meanwhile is no cause of what happens here.
    before = sys.exc_info()[1]
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        failure = explained(error, row, did, before)
        # Python would say of an exception that it happened during itself.
        if failure is error:
            raise
        raise failure from failure.__cause__


def explained(
    error: BaseException, row: str | None, did: str = "the program raised", before: BaseException | None = None
) -> MlflowException:
    """An exception that says which row failed, why, and whose fault it was, and tells no secret.

    Args:
        error: What was raised.
        row: The row, in words; None where there is only one.
        did: What had raised it, unless a language model is the cause.
        before: An exception that was being handled when the call began.

    Returns:
        What is an MLflow exception keeps its code; all else becomes a `CallError`, with the code of the language
        model's failure if there is one among its causes.
    """
    chain = chain_of(error, before)
    has_secret = any(_without_secrets(text) != text for each in chain for text in _said(each))
    if isinstance(error, MlflowException):
        if row is None and not has_secret:
            return error
        kind = InputError if isinstance(error, InputError) else CallError
        failure = kind(_told(row, error.message), ErrorCode.Value(error.error_code))
    else:
        lms = next((found for each in chain if (found := lm_failure(each))), None)
        words = f"{did} {_words(error)}" if lms is None else f"{lms.what}. {_words(error)}"
        failure = CallError(_told(row, words), None if lms is None else lms.code)
    # Whoever logs the one logs the other.
    failure.__cause__, failure.__suppress_context__ = (None if has_secret else error), True
    return failure


def _told(row: str | None, words: str) -> str:
    words = _without_secrets(words)
    words = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."
    return words[:1].upper() + words[1:] if row is None else f"{row}: {words}"


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {_text(error)}".removesuffix(": ")


def _text(error: BaseException) -> str:
    return attempt(lambda: str(error), lambda _: "")


def _said(error: BaseException) -> list[str]:
    """What is shown of an exception: by Python with its traceback, by MLflow's server with its status."""
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    return [_text(error), *notes, *map(str, getattr(error, "json_kwargs", {}).values())]


def _without_secrets(text: str) -> str:
    return redact_text(redact_assignments(_environment.current().redact(text)))

"""What calling the program raised -> what `predict` raises, or answers in the row's place."""

import contextlib
from collections.abc import Iterator

from mlflow_dspy_plugin.errors import CallError, InputError
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.seams.lm_errors import lm_failure


@contextlib.contextmanager
def failing_clearly(row: str | None = None) -> Iterator[None]:
    """Raise what `explained` makes of what is raised in the block."""
    try:
        yield
    except Exception as error:
        failure = explained(error, row)
        # Python would say of an exception that it happened during itself.
        if failure is error:
            raise
        raise failure from failure.__cause__


def explained(error: Exception, row: str | None) -> Exception:
    """An exception that says which row failed, why, and whose fault it was.

    Args:
        error: What was raised.
        row: The row, in words; None where there is only one.

    Returns:
        A `CallError` where a language model failed, and of several rows; else the exception itself.
    """
    where = "" if row is None else f"{row}: "
    if isinstance(error, InputError):
        return error if row is None else InputError(f"{where}{error.message}")
    failure = lm_failure(error)
    if failure is not None:
        return _caused_by(error, CallError(f"{where}{failure.what}. {_words(error)}", failure.code))
    return error if row is None else _caused_by(error, CallError(f"{where}the program raised {_words(error)}"))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _caused_by(error: Exception, explanation: CallError) -> CallError:
    """With the cause, unless it tells a secret: whoever logs the one logs the other."""
    secret = redact_text(str(error)) != str(error)
    explanation.__cause__, explanation.__suppress_context__ = (None if secret else error), True
    return explanation

"""The one place where an error of this package's own instrumentation stops.

A fault in what watches a program is logged with its traceback, and raised where MLflow's own
autologging is under test; it never reaches the program that is watched. What the user's own
objects raise when they are looked at is no fault: something else stands for what they would show.
"""

import functools
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

_logger = logging.getLogger("mlflow_dspy_plugin")
_Result = TypeVar("_Result")


# Tells whether the user wants no log lines; set by who can ask MLflow.
_asked: list[Callable[[], bool]] = []


def ask_before_speaking(is_silent: Callable[[], bool]) -> None:
    """Have nothing logged where this function says that the user wants silence."""
    _asked[:] = [is_silent]


def is_silent() -> bool:
    """Whether the user wants no log lines."""
    return any(asked() for asked in _asked)


def never_raises(handler: Callable[..., None]) -> Callable[..., None]:
    """Make an event handler safe to call in the middle of the user's program."""

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            handler(*args, **kwargs)
        except Exception:
            if not is_silent():
                _logger.warning(
                    "%s failed; the program goes on.", getattr(handler, "__qualname__", handler), exc_info=True
                )
            if os.environ.get("MLFLOW_AUTOLOGGING_TESTING") == "true":
                raise

    return guarded


def attempt(look: Callable[[], _Result], instead: Callable[[BaseException], _Result]) -> _Result:
    """Look at an object of the user's, or call a function of theirs, that may raise anything.

    Extensions written in Rust raise panics that are no `Exception`. An interrupt is not the object's.
    """
    try:
        return look()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return instead(error)


def warn(message: str, *args: Any) -> None:
    """Log a warning, unless the user wants none."""
    if not is_silent():
        _logger.warning(message, *args)

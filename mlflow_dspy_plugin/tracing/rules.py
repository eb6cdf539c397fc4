"""What the user wants put out of sight in traces: `autolog(redact=...)` -> rules, and a text without what they find."""

import re
from collections.abc import Callable
from typing import Any

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.errors import SettingError
from mlflow_dspy_plugin.redaction import REDACTED
from mlflow_dspy_plugin.seams import trace_context

WITHHELD = "[REDACTION FAILED]"
_WHAT_IT_TAKES = "a regular expression (a text or what re.compile gives), a function (text) -> text, or a list of those"

Rule = Callable[[str], str]


def rules_of(redact: Any) -> tuple[Rule, ...]:
    """The rules that the user has given.

    Raises:
        SettingError: If they are no rules.
    """
    if redact is None:
        return ()
    given = redact if isinstance(redact, (list, tuple)) else [redact]
    return tuple(_rule_of(each) for each in given)


def _rule_of(given: Any) -> Rule:
    if isinstance(given, str):
        given = _compiled(given)
    if isinstance(given, re.Pattern):
        return _rule_of_pattern(given)
    if callable(given) and not isinstance(given, type):
        return _untraced(given)
    raise SettingError(f"redact got {_shown(given)}, which cannot be applied to a text. Give {_WHAT_IT_TAKES}.")


def _compiled(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SettingError(
            f"redact got {pattern!r}, which is no regular expression: {error}. Correct it, or use re.escape() "
            "for a text that is to be found as it is."
        ) from None


def _rule_of_pattern(pattern: re.Pattern) -> Rule:
    if isinstance(pattern.pattern, bytes):
        raise SettingError(f"redact got {pattern!r}, which is a pattern of bytes. Give a pattern of text.")
    if pattern.search("") is not None:
        raise SettingError(
            f"redact got {pattern.pattern!r}, which is found between any two characters too. Change it so that it "
            "matches at least one character."
        )
    return lambda text: pattern.sub(REDACTED, text)


def _untraced(function: Rule) -> Rule:
    """A function of the user's that may call programs: what it is given is that of a trace, and so would be theirs."""

    def rule(text: str) -> str:
        with trace_context.silence():
            return function(text)

    return rule


def _shown(given: Any) -> str:
    return attempt(lambda: repr(given)[:200], lambda error: f"an object of class {type(given).__name__}")


def apply(rules: tuple[Rule, ...], text: str, failed: Callable[[str], None]) -> str:
    """The text after all rules; none of it where a rule fails.

    Args:
        rules: The rules.
        text: The text.
        failed: Told why, if a rule fails.
    """

    def ruled() -> str:
        result = text
        for rule in rules:
            result = rule(result)
            if not isinstance(result, str):
                raise TypeError("no text was returned")
        return str.__str__(result)

    def withheld(error: BaseException) -> str:
        failed(type(error).__name__)
        return WITHHELD

    return attempt(ruled, withheld)

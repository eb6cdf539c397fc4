"""The policy of what values become in a trace: nothing secret, nothing huge, and no text if the user wants none."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from json import encoder
from typing import Any

from mlflow_dspy_plugin.boundary import attempt, warn
from mlflow_dspy_plugin.redaction import may_hold_secret, passwords_in, redact_assignments, redact_text
from mlflow_dspy_plugin.tracing.known_secrets import EnvironmentSecrets, KnownSecrets
from mlflow_dspy_plugin.tracing.long_values import LONG_MEDIA, Attach, LongValues
from mlflow_dspy_plugin.tracing.outline import outlined, outlined_stack
from mlflow_dspy_plugin.tracing.rules import apply, rules_of
from mlflow_dspy_plugin.tracing.showing import MOST_CHARACTERS, Showing, may_be_long
from mlflow_dspy_plugin.tracing.values import Reading

LONGEST_BARE_TEXT = 100_000
_MOST_WARNINGS = 1_000
_LAST_WORD, _FIRST_WORD = re.compile(r"\S{1,2000}\Z"), re.compile(r"\A\S{1,2000}")
# Of facts whose JSON is remembered.
_LONGEST_REMEMBERED = 5_000


def _encoder() -> Callable[[Any], str]:
    """Writes plain data, in which there is nothing that it could fail at, as JSON."""
    if encoder.c_make_encoder is None:
        return json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
    # Making one, as `json.dumps` does each time, takes longer than most values do.
    write = encoder.c_make_encoder(None, None, encoder.encode_basestring, None, ": ", ", ", False, False, False)
    return lambda data: "".join(write(data, 0))


_encode = _encoder()


class Content:
    """What may be in traces, as the user has asked for it.

    Args:
        redact: What is put out of sight beside what is known to be secret: a regular expression (a
            text or compiled), a function that is given each text and returns what is left of it,
            or a list of those.
        capture: Whether traces hold content at all. If not, they keep its outline (see `outline.py`).

    Raises:
        SettingError: If `redact` is none of that.
    """

    def __init__(self, redact: Any = None, capture: bool = True):
        self.rules = rules_of(redact)
        self.capture = capture
        self.environment = EnvironmentSecrets()
        self._warned: set[tuple[str, ...]] = set()

    def of_trace(self) -> "TraceContent":
        """What one trace has stored and learnt."""
        return TraceContent(self)

    def warn_once(self, message: str, *kind: str) -> None:
        """Log a warning, once for each message and what it names."""
        if (message, *kind) not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add((message, *kind))
            warn(message, *kind)


class TraceContent:
    """The values of one trace; threads may share it, and it lives as long as the trace is open."""

    __slots__ = ("_content", "_known", "_long")

    def __init__(self, content: Content):
        self._content = content
        self._known = KnownSecrets(content.environment.current())
        self._long = LongValues()

    @property
    def captures(self) -> bool:
        """Whether content is stored."""
        return self._content.capture

    def dump(self, value: Any, attach: Attach | None = None) -> str:
        """A value as JSON, as MLflow keeps the attributes of spans.

        It always returns. The value is neither changed nor copied, and no iterator is consumed.

        Args:
            value: Any object.
            attach: Stores a content type and bytes beside the trace and returns the reference to
                them; None where MLflow has no attachments.
        """
        capture = self._content.capture
        return attempt(lambda: self._dump(value, attach, capture), lambda error: _encode(self._lost(error)))

    def fact(self, value: Any) -> str:
        """What a trace says even where it captures no content, as JSON: names, counts, parameters; no secret."""
        # Most are said of every call anew.
        if type(value) is str and len(value) < _LONGEST_REMEMBERED and not self._content.rules:
            remembered = _harmless(value)
            if remembered is not None and not self._known.may_stand_in(value):
                return remembered
        return attempt(lambda: self._dump(value, None, capture=True), lambda error: _encode(self._lost(error)))

    def text(self, text: str, is_stack: bool = False) -> str:
        """A text that stands by itself, such as the message of an exception or its stack."""
        return attempt(lambda: self._text(text, is_stack), self._lost)

    def cleaned(self, text: str) -> str:
        """A text of any length, without secrets and what the user wants out of sight, also where none is captured."""
        return attempt(lambda: self._cleaned(str.__str__(text)), self._lost)

    def learn(self, values: Mapping[str, Any]) -> None:
        """Take the secrets out of values that are not shown, such as the settings of a language model."""
        attempt(lambda: self._learn(values), self._lost)

    def _cleaned(self, text: str) -> str:
        return text if not self._content.rules and self._is_harmless([text]) else self._clean(text)

    def _learn(self, values: Mapping[str, Any]) -> None:
        _, reading = self._read(values)
        self._known.learn(password for text in reading.texts for password in passwords_in(text))

    def _dump(self, value: Any, attach: Attach | None, capture: bool) -> str:
        data, reading = self._read(value)
        if not capture:
            return _encode(outlined(data))
        harmless = self._is_harmless(reading.texts)
        if not harmless or reading.has_bytes or self._content.rules:
            clean = self._ruled if harmless and not reading.has_bytes else self._clean
            shown = Showing(clean, self._long, attach, ruled=bool(self._content.rules))
            data = shown.data(data)
        return _encode(data)

    def _read(self, value: Any) -> tuple[Any, Reading]:
        reading = Reading()
        data = reading.read(value)
        if reading.secrets:
            self._known.learn(reading.secrets)
        for name, reason in reading.failures:
            message = "Traces cannot show a value of type %s (%s); a placeholder stands for it."
            self._content.warn_once(message, name, reason)
        return data, reading

    def _is_harmless(self, texts: list[str]) -> bool:
        """Whether no text has to be changed."""
        size = sum(map(len, texts))
        if size > LONG_MEDIA and (size > MOST_CHARACTERS or any(map(may_be_long, texts))):
            return False
        # The line break is a boundary for whatever looks for words.
        text = "\n".join(texts)
        return not may_hold_secret(text) and not self._known.may_stand_in(text) and _is_utf8(text)

    def _clean(self, text: str) -> str:
        """A text with all secrets out of sight."""
        return self._ruled(self._known.redact(redact_assignments(redact_text(text))))

    def _ruled(self, text: str) -> str:
        """A text with what the user wants out of sight."""
        if self._content.rules:
            text = apply(self._content.rules, text, self._rule_failed)
        return text if _is_utf8(text) else text.encode("utf-8", "backslashreplace").decode()

    def _text(self, text: str, is_stack: bool) -> str:
        text = str.__str__(text)
        if not self._content.capture:
            return outlined_stack(text) if is_stack else outlined(text)
        if len(text) <= LONGEST_BARE_TEXT:
            return self._clean(text)
        # No word is cut: a half of a key is not known for one.
        half = LONGEST_BARE_TEXT // 2
        begin, end = _LAST_WORD.sub("", text[:half]), _FIRST_WORD.sub("", text[-half:])
        left_out = len(text) - len(begin) - len(end)
        return self._clean(f"{begin}\n... [{left_out:,} characters left out] ...\n{end}")

    def _rule_failed(self, reason: str) -> None:
        self._content.warn_once("A function given as redact raised %s; the text is left out of the trace.", reason)

    def _lost(self, error: BaseException) -> str:
        reason = type(error).__name__
        self._content.warn_once("Traces cannot show a value (%s); a placeholder stands for it.", reason)
        return f"<Unreadable: {reason}>"


@functools.lru_cache(maxsize=1024)
def _harmless(text: str) -> str | None:
    """A text as JSON, if nothing in it looks like a secret."""
    return None if may_hold_secret(text) or not _is_utf8(text) else _encode(text)


def _is_utf8(text: str) -> bool:
    """Whether a text can be stored; half a pair of surrogates cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Plain data -> plain data as a trace shows it: texts cleaned, and what is long stored once and referred to."""

from collections.abc import Callable
from typing import Any

from mlflow_dspy_plugin.tracing.long_values import DATA_URI, LONG_MEDIA, LONG_TEXT, Attach, LongValues
from mlflow_dspy_plugin.tracing.rules import WITHHELD
from mlflow_dspy_plugin.tracing.values import Bytes, is_plain_name

# All that one value may hold, in characters.
MOST_CHARACTERS = 20_000_000
# The names under which chat messages hold base64, and what stands beside it and tells what it is.
_MEDIA_NAMES = ("data", "b64_json")
_TELLING = (("media_type", "{}"), ("mime_type", "{}"), ("format", "audio/{}"))
_UNTOLD = "image/png"


def may_be_long(text: str) -> bool:
    """Whether a text is long, or short for a text and long for a file."""
    size = len(text)
    return size > LONG_TEXT or (size > LONG_MEDIA and ("base64," in text or " " not in text[:100]))


class Showing:
    """One value being made ready for a trace.

    Args:
        clean: Puts out of sight what a text must not show.
        ruled: Whether that may be anything, as the user's own rules say, and so in names and numbers too.
        long: The long values of the trace.
        attach: See `TraceContent.dump`.
    """

    def __init__(self, clean: Callable[[str], str], long: LongValues, attach: Attach | None, ruled: bool):
        self._clean = clean
        self._is_ruled = ruled
        self._long = long
        self._attach = attach
        self._room = MOST_CHARACTERS

    def data(self, data: Any) -> Any:
        """The data, which may be changed."""
        if type(data) is str:
            return self._text(data)
        if type(data) is dict:
            return {self._name(name): self._member(data, name) for name in data}
        if type(data) is list:
            return [self.data(each) for each in data]
        if type(data) is Bytes:
            return self._long.bytes(data.data, self._clean, self._attach)
        return self._number(data) if self._is_ruled and type(data) in (int, float) else data

    def _number(self, number: float) -> Any:
        written = str(number)
        shown = self._clean(written)
        return number if shown == written else shown

    def _name(self, name: str) -> str:
        if not is_plain_name(name):
            return self._clean(name)
        shown = self._clean(name) if self._is_ruled else name
        # Where a rule fails on every text, the structure stays.
        return name if shown == WITHHELD else shown

    def _member(self, holder: dict[str, Any], name: str) -> Any:
        value = holder[name]
        if name in _MEDIA_NAMES and type(value) is str and len(value) > LONG_MEDIA:
            shown = self._long.media(value, _content_type(holder), self._attach)
            if shown is not None:
                return shown
        return self.data(value)

    def _text(self, text: str) -> str:
        if len(text) > self._room:
            whole, text = len(text), text[: self._room]
            self._room = 0
            return f"{self._shown(text)}... [cut: {whole:,} characters in all]"
        self._room -= len(text)
        return self._shown(text)

    def _shown(self, text: str) -> str:
        if not may_be_long(text):
            return self._clean(text)
        uri = DATA_URI.fullmatch(text)
        return self._long.data_uri(uri, self._attach) if uri else self._long.text(text, self._clean, self._attach)


def _content_type(holder: dict[str, Any]) -> str:
    """What the names beside base64 tell of it."""
    for name, form in _TELLING:
        if type(holder.get(name)) is str:
            return form.format(holder[name])
    return _UNTOLD

"""What DSPy tells of a field while the language model writes it -> pieces of the text that the field will have.

DSPy tells the blanks around a text, and of an answer in JSON what stands there: quotes, and escapes for letters.
"""

import json
import re
from dataclasses import replace

import dspy
from dspy.streaming import StreamResponse

# A JSON string up to its end, or as far as its escapes are whole.
_WHOLE = re.compile(r'(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*')
# The first half of a letter that JSON writes as two.
_HALF = re.compile(r"[\ud800-\udbff]\Z")


class FieldTexts:
    """Reads the chunks of all fields of one stream."""

    def __init__(self) -> None:
        kind = _InJson if isinstance(dspy.settings.adapter, dspy.JSONAdapter) else _Bare
        self._new, self._texts = kind, {}

    def read(self, chunk: StreamResponse) -> StreamResponse | None:
        """The chunk with what it adds to the text; None where that is nothing."""
        key = (chunk.predict_name, chunk.signature_field_name)
        text = self._texts.setdefault(key, self._new())
        piece = text.more(chunk.chunk or "")
        if chunk.is_last_chunk:
            # What follows is of another call of the predictor.
            del self._texts[key]
        return replace(chunk, chunk=piece) if piece or chunk.is_last_chunk else None


class _Bare:
    """A text as it stands; adapters take the blanks around it away."""

    def __init__(self) -> None:
        self._begun, self._held = False, ""

    def more(self, told: str) -> str:
        """The piece that is certain: blanks are once something follows."""
        text = self._held + told if self._begun else told.lstrip()
        piece = text.rstrip()
        self._begun, self._held = self._begun or bool(piece), text[len(piece) :]
        return piece


class _InJson:
    """A text that stands in JSON; what follows its end is no part of it."""

    def __init__(self) -> None:
        self._begun, self._ended, self._held = False, False, ""

    def more(self, told: str) -> str:
        """The piece whose letters are whole."""
        raw = self._held + told
        if not self._begun:
            # The first quote has been told by some releases of DSPy only.
            raw = raw.lstrip().removeprefix('"')
            self._begun = bool(told.strip())
        if self._ended or not raw:
            return ""
        whole = _WHOLE.match(raw).group()
        self._ended, self._held = raw[len(whole) :].startswith('"'), raw[len(whole) :]
        text = json.loads(f'"{whole}"', strict=False)
        if _HALF.search(text):
            self._held, text = whole[-6:] + self._held, text[:-1]
        return text

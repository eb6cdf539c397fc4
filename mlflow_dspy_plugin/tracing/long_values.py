"""Long texts, images and files of one trace: each is stored once, and referred to wherever it comes again."""

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Characters from which on a text is long, and from which on what is no text is an attachment.
LONG_TEXT = 16_000
LONG_MEDIA = 1_000
# How much of a long text is shown where it is referred to.
PREVIEW = 1_000
_OPENING = 60
# How many long texts are looked for inside of others.
_MOST_SOUGHT = 64
# A text is sought by how it begins; one that begins so at more places is taken for another.
_ANCHOR = 64
_MOST_PLACES = 8

Attach = Callable[[str, bytes], str]

DATA_URI = re.compile(rf"data:([\w.+-]+/[\w.+-]+)(?:;[\w.=+-]+)*;base64,([A-Za-z0-9+/=_-]{{{LONG_MEDIA},}})")
# How a text is written inside of other texts: as it is, and as DSPy's adapters and JSON write it.
_WRITTEN: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    lambda text: text.replace("\n", "\n    "),
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(json.dumps(text, ensure_ascii=False)[1:-1], ensure_ascii=False)[1:-1],
)
# What bytes begin with, by what they are.
_SIGNATURES = (
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"RIFF", "audio/wav"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
)
_BINARY = "application/octet-stream"


@dataclass(frozen=True)
class _Stored:
    """What stands for a long value after it was stored: alone, and inside of a text."""

    alone: str
    inside: str


class LongValues:
    """The long values of one trace; threads may share it. Texts are kept by reference while the trace is open."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # By length and hash: Python keeps the hash of a text with it, and no copy has to be kept here.
        self._stored: dict[tuple[int, int], _Stored] = {}
        # Those that are sought inside of others.
        self._sought: list[tuple[str, _Stored]] = []

    def text(self, text: str, clean: Callable[[str], str], attach: Attach | None) -> str:
        """What stands for a text that may be long, or hold what is long.

        Args:
            text: The text as it is.
            clean: Puts secrets out of sight.
            attach: See `TraceContent.dump`.
        """
        with self._lock:
            if (stored := self._stored.get((len(text), hash(text)))) is not None:
                return stored.alone
            parts = self._parts(text, attach)
            rest = sum(len(part) for part in parts if type(part) is str)
            if rest > LONG_TEXT and len(parts) == 1:
                return self._store(text, clean(text), attach)
            # A reference must not be changed by the user's rules.
            whole = "".join(clean(part) if type(part) is str else part.inside for part in parts)
            return self._store(text, whole, attach) if rest > LONG_TEXT else whole

    def data_uri(self, match: re.Match, attach: Attach | None) -> str:
        """What stands for an image or file that is written as a URI."""
        return self._media(match.group(), match[1], match[2], attach).alone

    def media(self, payload: str, content_type: str, attach: Attach | None) -> str | None:
        """What stands for a file in base64; None for what is none."""
        try:
            base64.b64decode(payload[: LONG_MEDIA // 4 * 4], validate=True)
        except (binascii.Error, ValueError):
            return None
        return self._media(payload, content_type, payload, attach).alone

    def bytes(self, data: Any, clean: Callable[[str], str], attach: Attach | None) -> str:
        """What stands for bytes; those of a text are cleaned like one."""
        content_type = next((each for begin, each in _SIGNATURES if data[: len(begin)] == begin), _BINARY)
        data = bytes(data)
        if content_type == _BINARY and (text := _as_text(data)) is not None:
            content_type, data = "text/plain", clean(text).encode("utf-8", "backslashreplace")
        with self._lock:
            stored = self._stored.get((-len(data), hash(data)))
            if stored is None:
                reference = (
                    attach(content_type, data)
                    if attach is not None
                    else _summary(content_type, len(data), data[:_OPENING])
                )
                stored = self._stored[-len(data), hash(data)] = _Stored(reference, reference)
            return stored.alone

    def _media(self, whole: str, content_type: str, payload: str, attach: Attach | None) -> _Stored:
        key = (len(whole), hash(whole))
        with self._lock:
            if (stored := self._stored.get(key)) is not None:
                return stored
            if attach is not None:
                reference = attach(content_type, _decoded(payload))
                stored = self._stored[key] = _Stored(reference, reference)
                return stored
            reference = _summary(content_type, len(payload) * 3 // 4)
            self._stored[key] = _Stored(reference, reference)
            return _Stored(whole, whole)

    def _store(self, text: str, clean: str, attach: Attach | None) -> str:
        """Store a long text; what stands for it here."""
        size, preview = f"{len(text):,} characters", clean[:PREVIEW]
        if attach is not None:
            reference = attach("text/plain", clean.encode("utf-8", "backslashreplace"))
            stored = _Stored(f"{preview}... [{size}: {reference}]", f"[{size}: {reference}]")
        else:
            where = "written out where this trace holds them first"
            stored = _Stored(f"{preview}... [{size}, {where}]", f"[{size}, {where}: {clean[:_OPENING]}...]")
        self._stored[len(text), hash(text)] = stored
        if len(self._sought) >= _MOST_SOUGHT:
            # The first are the program's inputs.
            del self._sought[_MOST_SOUGHT // 2]
        self._sought.append((text, stored))
        return stored.alone if attach is not None else clean

    def _parts(self, text: str, attach: Attach | None) -> list[Any]:
        """The text, cut where it repeats what is stored: texts, and `_Stored` in the place of what they repeat."""
        parts: list[Any] = [text]
        if "base64," in text:
            parts = [each for part in parts for each in self._without_media(part, attach)]
        for long, stored in sorted(self._sought, key=lambda sought: -len(sought[0])):
            parts = [each for part in parts for each in _without(part, long, stored)]
        return parts

    def _without_media(self, text: str, attach: Attach | None) -> list[Any]:
        parts, end = [], 0
        for match in DATA_URI.finditer(text):
            parts += (text[end : match.start()], self._media(match.group(), match[1], match[2], attach))
            end = match.end()
        return [*parts, text[end:]]


def _without(part: Any, long: str, stored: _Stored) -> list[Any]:
    """A part, cut where it repeats a long text in one of the ways of writing it."""
    if type(part) is not str or len(part) < len(long) // 2:
        return [part]
    long = long.strip()
    for written in _WRITTEN:
        # Writing the whole takes time and space, so how it begins is sought first.
        anchor = written(long[:_ANCHOR]).rstrip("\\")
        place = part.find(anchor)
        if place < 0:
            continue
        whole = written(long)
        for _ in range(_MOST_PLACES):
            if part.startswith(whole, place):
                return [part[:place], stored, *_without(part[place + len(whole) :], long, stored)]
            place = part.find(anchor, place + 1)
            if place < 0:
                break
    return [part]


def _as_text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _decoded(payload: str) -> bytes:
    try:
        return base64.b64decode(payload.replace("-", "+").replace("_", "/") + "==")
    except (binascii.Error, ValueError):
        return payload.encode("utf-8", "backslashreplace")


def _summary(content_type: str, size: int, opening: bytes = b"") -> str:
    begins = f" that begin with {opening!r}" if opening else ", written out where this trace holds them first"
    return f"[{content_type}, {size:,} bytes{begins}]"

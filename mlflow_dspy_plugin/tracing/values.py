"""Any object -> plain data that JSON can hold, whatever the object does when it is looked at.

Ordinary values give what MLflow's own encoder gives. Better than there: what DSPy and others keep as names and values
(`dspy.Example`, `dspy.Prediction`, mappings that are no dicts) keeps its structure, in which secret names are seen;
what `dspy.Image`, `Audio` and `File` hold has the form of a chat message.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import dspy
import pydantic

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.redaction import REDACTED, is_plain_header, is_secret_name, may_hold_secret, names_headers
from mlflow_dspy_plugin.seams.programs import is_signature

# How many values one value may hold, at all depths, and how deep.
MOST_ITEMS = 100_000
DEEPEST = 100
# Bytes that are longer are no text.
LONGEST_BYTES = 1_000
_LONGEST_NAME = 1_000
# Python refuses to write longer integers.
_LARGEST_INTEGER = 10**4000
# A read name that holds no secret needs no second look; more than these are looked at each time.
_MOST_NAMES = 5_000
_LONGEST_PLAIN_NAME = 100
_plain_names: set[str] = set()

_name_of_class: Callable[[type], str] = type.__dict__["__name__"].__get__


class Bytes:
    """Bytes in the place of a text; whoever reads the plain data replaces them."""

    __slots__ = ("data",)

    def __init__(self, data: bytes | bytearray | memoryview):
        self.data = data


class Reading:
    """One value being read.

    The plain data it gives is made of new dicts and lists, which may be changed, and of the value's own texts.

    Attributes:
        texts: Every text of the plain data.
        secrets: What stood under secret names.
        failures: The type and the reason of everything that could not be read.
        has_bytes: Whether the plain data holds `Bytes`.
    """

    __slots__ = ("_left", "_path", "failures", "has_bytes", "secrets", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.secrets: list[Any] = []
        self.failures: list[tuple[str, str]] = []
        self.has_bytes = False
        self._left = MOST_ITEMS
        # The containers that are being read, by their identity.
        self._path: set[int] = set()

    def read(self, value: Any) -> Any:
        """The value as plain data."""
        cls = type(value)
        if cls is str:
            self.texts.append(value)
            return value
        if cls is dict:
            # In one step: another thread may be changing the dict.
            return self.mapping(value, list(value.items()))
        if cls is list or cls is tuple:
            return self.sequence(value, value)
        if value is None or cls is bool:
            return value
        if cls is float:
            return value if value - value == 0.0 else _read_float(self, value)
        if cls is int:
            return value if -_LARGEST_INTEGER < value < _LARGEST_INTEGER else _read_integer(self, value)
        return attempt(lambda: _reader_of(cls)(self, value), self.failure(value))

    def mapping(self, value: Any, pairs: list[tuple[Any, Any]]) -> Any:
        """A dict, or what has names and values like one."""
        if (refusal := self._enter(value)) is not None:
            return refusal
        found: dict[str, Any] = {}
        read, texts = self.read, self.texts
        for key, each in self._affordable(pairs):
            if type(key) is not str or key not in _plain_names:
                name = self._name(key)
                found[name] = self._named(name, each)
            elif type(each) is str:
                texts.append(each)
                found[key] = each
            else:
                found[key] = read(each)
        if self._left < 0 and len(found) < len(pairs):
            found["..."] = f"<{len(pairs) - len(found):,} more>"
        self._path.discard(id(value))
        return found

    def sequence(self, value: Any, items: Sequence[Any]) -> Any:
        """A list or a tuple."""
        if (refusal := self._enter(value)) is not None:
            return refusal
        read = self.read
        found = [each if type(each) is float and each - each == 0.0 else read(each) for each in self._affordable(items)]
        if len(found) < len(items):
            found.append(f"<{len(items) - len(found):,} more>")
        self._path.discard(id(value))
        return found

    def items_of(self, value: Any) -> list[tuple[Any, Any]]:
        """The items of what is like a dict, which may be without end."""
        return list(itertools.islice(value.items(), max(self._left, 0) + 1))

    def text(self, value: str) -> str:
        """A text, also of a class of its own."""
        return self.read(str.__str__(value))

    def bytes(self, value: Any) -> Any:
        """Bytes: short ones as Python writes them."""
        if len(value) <= LONGEST_BYTES:
            return self.text(str(value))
        self.has_bytes = True
        return Bytes(value)

    def _enter(self, value: Any) -> str | None:
        """What stands for a container that must not be entered."""
        if id(value) in self._path:
            return "<contains itself>"
        if len(self._path) >= DEEPEST:
            return f"<nested deeper than {DEEPEST}>"
        self._path.add(id(value))
        return None

    def _affordable(self, values: Any) -> Any:
        """As many of the values as may still be read."""
        left = self._left
        self._left = left - len(values)
        return values if self._left >= 0 else itertools.islice(values, max(left, 0))

    def _name(self, key: Any) -> str:
        """A key as JSON writes it, or as text where JSON has no such keys."""
        if type(key) is not str:
            key = attempt(functools.partial(_text_of_key, key), self.failure(key))
        if len(key) > _LONGEST_NAME:
            key = f"{key[:_LONGEST_NAME]}<{len(key) - _LONGEST_NAME:,} more>"
        self.texts.append(key)
        return key

    def _named(self, name: str, value: Any) -> Any:
        """What stands under a name that was not yet known to be plain."""
        if is_secret_name(name):
            if value is None:
                return None
            self.secrets.append(value)
            return REDACTED
        if names_headers(name):
            return self._headers(value)
        if is_plain_name(name) and len(_plain_names) < _MOST_NAMES:
            _plain_names.add(name)
        return self.read(value)

    def _headers(self, value: Any) -> Any:
        """Headers of a request, of which most are secret."""
        if isinstance(value, str):
            # As they are sent: a line each.
            value = [line.split(":", 1) for line in value.splitlines() if ":" in line] or value
        if isinstance(value, (list, tuple)) and all(_is_pair(each) for each in value[:100]):
            value = {str(name): text for name, text in value[:100]}
        plain = self.read(value)
        if isinstance(plain, dict):
            self.secrets += [text for name, text in plain.items() if not is_plain_header(name)]
            return {name: text if is_plain_header(name) else REDACTED for name, text in plain.items()}
        return plain

    def failure(self, value: Any) -> Callable[[BaseException], str]:
        """Makes what stands for a value that raised."""

        def unreadable(error: BaseException) -> str:
            name, reason = _name_of_class(type(value)), _name_of_class(type(error))
            self.failures.append((name, reason))
            return f"<Unreadable {name}: {reason}>"

        return unreadable


@functools.lru_cache(maxsize=_MOST_NAMES)
def is_plain_name(name: str) -> bool:
    """Whether a name can hold no secret itself: it is a word, and no key."""
    is_word = name.isidentifier() and len(name) < _LONGEST_PLAIN_NAME and not any(c.isdigit() for c in name)
    return is_word and not may_hold_secret(name)


def _is_pair(value: Any) -> bool:
    return type(value) in (tuple, list) and len(value) == 2


def _text_of_key(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int):
        return int.__repr__(key)
    return str.__str__(str(key))


# -- the kinds of objects ---------------------------------------------------------------------


def _read_integer(reading: Reading, value: int) -> Any:
    if -_LARGEST_INTEGER < value < _LARGEST_INTEGER:
        return int.__index__(value)
    return f"<integer of {value.bit_length():,} bits>"


def _read_float(reading: Reading, value: float) -> Any:
    number = float.__float__(value)
    # JSON has neither infinity nor "not a number".
    return number if number - number == 0.0 else {"inf": "Infinity", "-inf": "-Infinity"}.get(repr(number), "NaN")


def _read_class(reading: Reading, value: type) -> Any:
    # Its docstring holds its instructions, which may be set.
    return reading.text(_text_of_signature(value, value.__doc__) if is_signature(value) else str(value))


@functools.lru_cache(maxsize=256)
def _text_of_signature(signature: type, instructions: str | None) -> str:
    return repr(signature)


def _read_model(reading: Reading, value: pydantic.BaseModel) -> Any:
    return attempt(
        lambda: reading.read(value.model_dump(warnings=False)),
        lambda error: reading.mapping(value, list(vars(value).items())),
    )


def _read_dataclass(reading: Reading, value: Any) -> Any:
    held = [
        (field.name, attempt(functools.partial(getattr, value, field.name), reading.failure(value)))
        for field in fields(value)
    ]
    return reading.mapping(value, held)


def _read_image(reading: Reading, value: dspy.Image) -> Any:
    return reading.read({"type": "image_url", "image_url": {"url": value.url}})


def _read_audio(reading: Reading, value: dspy.Audio) -> Any:
    return reading.read({"type": "input_audio", "input_audio": {"data": value.data, "format": value.audio_format}})


def _read_file(reading: Reading, value: Any) -> Any:
    held = {name: getattr(value, name) for name in ("file_data", "file_id", "filename")}
    return reading.read({"type": "file", "file": {name: each for name, each in held.items() if each is not None}})


def _read_text_of(reading: Reading, value: Any) -> Any:
    return reading.text(str(value))


def _read_name_of_class(reading: Reading, value: Any) -> Any:
    return str(type(value))


# The first class that fits says how its objects are read; those of the first rows are by far the most.
_READERS: tuple[tuple[Any, Callable[[Reading, Any], Any]], ...] = (
    (int, _read_integer),
    (float, _read_float),
    (str, Reading.text),
    # Not by methods that their own class may have changed.
    (dict, lambda reading, value: reading.mapping(value, list(dict.items(value)))),
    (list, lambda reading, value: reading.sequence(value, list.__getitem__(value, slice(None)))),
    (tuple, lambda reading, value: reading.sequence(value, tuple.__getitem__(value, slice(None)))),
    ((bytes, bytearray), Reading.bytes),
    (type, _read_class),
    (dspy.Example, lambda reading, value: reading.mapping(value, reading.items_of(value))),
    (dspy.Image, _read_image),
    (dspy.Audio, _read_audio),
    # dspy >= 3.1.
    (getattr(dspy, "File", ()), _read_file),
    (pydantic.BaseModel, _read_model),
    (Mapping, lambda reading, value: reading.mapping(value, reading.items_of(value))),
)
# Their `str()` reads a stream to its end.
_STREAMS = ("AsyncStreamingResponse", "StreamingAgentChatResponse", "StreamingResponse")


@functools.lru_cache(maxsize=1024)
def _reader_of(cls: type) -> Callable[[Reading, Any], Any]:
    """How objects of a class are read; by their true class, which they cannot deny."""
    for base, reader in _READERS:
        if issubclass(cls, base):
            return reader
    if is_dataclass(cls):
        return _read_dataclass
    return _read_name_of_class if _name_of_class(cls) in _STREAMS else _read_text_of

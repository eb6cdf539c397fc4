"""Plain values that JSON has no word for <-> nodes."""

import base64
import logging
import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path, PosixPath, PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np

from mlflow_dspy_plugin.plain.nodes import KIND, Decode, Encode, NotPlain

_CONTAINERS = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
# Values whose text says all of them: how it is made, and how the value is made of it.
_AS_TEXT: Mapping[type, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    float: (repr, float),
    complex: (repr, complex),
    datetime: (datetime.isoformat, datetime.fromisoformat),
    date: (date.isoformat, date.fromisoformat),
    time: (time.isoformat, time.fromisoformat),
    timedelta: (
        lambda value: f"{value.days} {value.seconds} {value.microseconds}",
        lambda text: timedelta(*map(int, text.split())),
    ),
    Decimal: (str, Decimal),
    # Of a text with an exponent it would make a number that fills the memory.
    Fraction: (str, lambda text: Fraction(*map(int, text.split("/")))),
    UUID: (str, UUID),
    PosixPath: (str, Path),
    PurePosixPath: (str, PurePosixPath),
    logging.Logger: (lambda value: value.name, logging.getLogger),
}
_TEXT_TYPES = {cls.__name__: read for cls, (_, read) in _AS_TEXT.items()}
# Kinds of numpy's types that hold no Python objects.
_NUMERIC = "biufcSUmM"


def is_scalar(value: Any) -> bool:
    """Whether JSON holds the value as it is."""
    return value is None or type(value) in (bool, int, str) or type(value) is float and math.isfinite(value)


def encode_value(value: Any, encode: Encode, where: str) -> dict[str, Any] | None:
    """The node of a container or a plain value; None for everything else."""
    cls = type(value)
    if cls is dict:
        items = [[encode(key, where), encode(item, f"{where}.{key}")] for key, item in value.items()]
        return {KIND: "mapping", "items": items}
    if cls in _CONTAINERS:
        ordered = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return {KIND: _CONTAINERS[cls], "items": [encode(item, f"{where}[{i}]") for i, item in enumerate(ordered)]}
    if cls is bytes:
        return {KIND: "bytes", "base64": _to_base64(value)}
    if isinstance(value, (datetime, time)) and type(value.tzinfo) not in (timezone, type(None)):
        raise NotPlain(f"{where} has the time zone {value.tzinfo!r}, which a text cannot say")
    if cls in _AS_TEXT:
        return {KIND: "text", "type": cls.__name__, "text": _AS_TEXT[cls][0](value)}
    if cls is re.Pattern and isinstance(value.pattern, str):
        return {KIND: "pattern", "pattern": value.pattern, "flags": value.flags}
    if isinstance(value, Enum):
        return {KIND: "member", "enum": encode(cls, where), "name": value.name}
    if cls is np.ndarray or isinstance(value, np.generic):
        return _encode_array(value, where)
    return None


def decode_value(node: dict[str, Any], decode: Decode) -> Any:
    """The value of a node of the kinds that `encode_value` makes, but for list and mapping."""
    kind = node[KIND]
    if kind == "bytes":
        return _from_base64(node["base64"])
    if kind == "text":
        return _TEXT_TYPES[node["type"]](node["text"])
    if kind == "pattern":
        return re.compile(node["pattern"], node["flags"])
    if kind == "member":
        return decode(node["enum"])[node["name"]]
    if kind == "array":
        flat = np.frombuffer(_from_base64(node["base64"]), dtype=np.dtype(node["dtype"]))
        # A copy: what is made of a buffer cannot be written to.
        return flat.reshape(node["shape"]).copy() if node["shape"] is not None else flat[0]
    items = [decode(item) for item in node["items"]]
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](items)


def _encode_array(array: Any, where: str) -> dict[str, Any]:
    if array.dtype.kind not in _NUMERIC:
        raise NotPlain(f"{where} is a numpy array of Python objects")
    shape = list(array.shape) if isinstance(array, np.ndarray) else None
    return {KIND: "array", "dtype": array.dtype.str, "shape": shape, "base64": _to_base64(array.tobytes())}


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")

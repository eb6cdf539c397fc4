"""Values of demos <-> what JSON holds; what would not come back as it was is refused."""

import json
from collections.abc import Mapping
from typing import Any

import dspy
import pydantic
import pydantic_core

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.prompts.wording import Value

_PLAIN = (bool, int, float, str, type(None))
_UNREADABLE = object()
# What an image may be that comes from a text.
_REMOTE = ("data:", "http://", "https://", "gs://")


def value_of(value: Any, annotation: Any) -> Value | None:
    """What stands for a value in a prompt.

    Args:
        value: The value.
        annotation: The type of its field; None where it has none.

    Returns:
        None if nothing would come back the same.
    """
    if _is_plain(value):
        return Value(value)
    if annotation is None:
        return None
    for tell in (_told, lambda each: pydantic.TypeAdapter(annotation).dump_python(each, mode="json", warnings=False)):
        content = attempt(lambda tell=tell: json.loads(json.dumps(tell(value))), lambda error: _UNREADABLE)
        told = Value(content, typed=True)
        if content is not _UNREADABLE and is_same(value, made(told, annotation)):
            return told
    return None


def made(value: Value, annotation: Any) -> Any:
    """The value that a prompt tells of; an object that equals nothing where its field's type does not take it."""
    if not value.typed:
        return value.content
    text = json.dumps(value.content)
    found = attempt(lambda: pydantic.TypeAdapter(annotation).validate_json(text), lambda error: _UNREADABLE)
    return found if _is_all_told(found, text) else _UNREADABLE


def is_made(value: Any) -> bool:
    """Whether `made` has made a value."""
    return value is not _UNREADABLE


def is_same(a: Any, b: Any) -> bool:
    """Whether two values hold the same, types included."""
    if not _is_same_type(type(a), type(b)):
        return False
    if isinstance(a, pydantic.BaseModel):
        return is_same(vars(a), vars(b)) and is_same(a.model_extra, b.model_extra)
    if isinstance(a, Mapping):
        return list(a) == list(b) and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(is_same, a, b))
    # Not a number is one too.
    return attempt(lambda: bool(a == b) or repr(a) == repr(b) and isinstance(a, float), lambda error: False)


def _is_all_told(value: Any, text: str) -> bool:
    """Whether a value holds what its text says, and no file of this machine: DSPy 3.0 reads those that a text names."""
    if isinstance(value, dspy.Image):
        return value.url.startswith(_REMOTE)
    if isinstance(value, dspy.Audio):
        return value.data in text
    if isinstance(value, pydantic.BaseModel):
        return _is_all_told([*vars(value).values(), *(value.model_extra or {}).values()], text)
    items = value.values() if isinstance(value, Mapping) else value
    return not isinstance(value, (Mapping, list, tuple, set, frozenset)) or all(_is_all_told(i, text) for i in items)


def _is_same_type(a: type, b: type) -> bool:
    """Whether two types are one. DSPy makes `dspy.Code["java"]` anew whenever it is written."""
    made_alike = issubclass(a, pydantic.BaseModel) and (a.__module__, a.__qualname__) == (b.__module__, b.__qualname__)
    return a is b or made_alike


def _is_plain(value: Any) -> bool:
    """Whether JSON gives back the same."""
    if type(value) is list:
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    return type(value) in _PLAIN


def _told(value: Any) -> Any:
    """A value as what its type can be made of. DSPy's own types write themselves as what a language model is told."""
    if isinstance(value, pydantic.BaseModel):
        given = {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
        return {name: _told(item) for name, item in {**given, **(value.model_extra or {})}.items()}
    if isinstance(value, Mapping):
        return {key: _told(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_told(item) for item in value]
    return pydantic_core.to_jsonable_python(value)

"""One example <-> one row of plain JSON, in the shape of a record of `mlflow.genai.datasets`.

::

    {"inputs": {"question": "..."}, "expectations": {"answer": "..."}}

What JSON has no word for (images, dates, sets, pydantic objects, members of enums) stands in the plain form of saved
programs, `{"$": kind, ...}`. A third part, "dspy", is there only where the first two do not say all: which fields are
inputs, in which order the fields are, and what DSPy keeps under names of its own.
"""

import math
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import dspy

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.errors import DatasetError, DspyPluginError, SecretError
from mlflow_dspy_plugin.plain.audit import Audit, audit
from mlflow_dspy_plugin.plain.decode import Decoder
from mlflow_dspy_plugin.plain.encode import Encoder
from mlflow_dspy_plugin.plain.nodes import KIND, MAX_DEPTH, NotPlain, Writer
from mlflow_dspy_plugin.plain.paths import is_data
from mlflow_dspy_plugin.redaction import looks_secret, redact_text

INPUTS, EXPECTATIONS, MORE = "inputs", "expectations", "dspy"
# What the third part may say.
_KEYS, _ORDER, _HIDDEN = "input_keys", "order", "hidden"
_OF_DSPY = "dspy_"

Row = dict[str, Any]


def row_of(example: Any, where: str, secrets: Collection[str]) -> Row:
    """The row of an example.

    Args:
        example: A `dspy.Example`.
        where: Which one it is, for errors.
        secrets: Those of the environment.

    Raises:
        DatasetError: If it is no example, or a value of it has no plain form.
        SecretError: If one of its texts looks like a secret, or holds one of the environment.
    """
    if not isinstance(example, dspy.Example):
        raise DatasetError(
            f"{where} is a {type(example).__name__}, and no dspy.Example. Make one of it: "
            "dspy.Example(question=..., answer=...).with_inputs('question')."
        )
    values, keys = _fields_of(example, where), input_keys_of(example)
    if not all(type(key) is str for key in keys or ()):
        raise DatasetError(f"{where} has inputs whose names are no text: with_inputs{(*keys,)!r:.100}.")
    written = {name: plain_value(value, f"{where}, field {name!r}", secrets) for name, value in values.items()}
    hidden = {name: value for name, value in written.items() if name.startswith(_OF_DSPY)}
    shown = {name: value for name, value in written.items() if name not in hidden}
    row = {
        INPUTS: {name: value for name, value in shown.items() if name in (keys or ())},
        EXPECTATIONS: {name: value for name, value in shown.items() if name not in (keys or ())},
    }
    if more := _more(row, keys, list(shown), hidden):
        row[MORE] = more
    return row


def example_of(row: Mapping[str, Any], where: str) -> dspy.Example:
    """The example of a row.

    Raises:
        DatasetError: If the row is damaged, or names what is not there.
    """
    if not isinstance(row, Mapping) or not isinstance(row.get(INPUTS), Mapping):
        raise DatasetError(f"{where} has no {INPUTS!r} with fields in it, and so is no row of examples.")
    given, expected, more = row[INPUTS], row.get(EXPECTATIONS) or {}, row.get(MORE) or {}
    if both := given.keys() & expected.keys():
        raise DatasetError(f"{where} has {min(both)!r} among its inputs and its expectations. Rename one of them.")
    written = {**given, **expected}
    if _ORDER in more:
        written = {name: written[name] for name in more[_ORDER]}
    written |= more.get(_HIDDEN, {})
    fields = {name: value_of(value, f"{where}, field {name!r}") for name, value in written.items()}
    keys = more.get(_KEYS, given)
    # As a dict: a field may be called "base".
    example = dspy.Example(fields)
    return example if keys is None else example.with_inputs(*keys)


def input_keys_of(example: Any) -> set[str] | None:
    """The names of the fields that are inputs; None where `with_inputs` has not said it."""
    keys = getattr(example, "_input_keys", None)
    return None if keys is None else set(keys)


def _fields_of(example: dspy.Example, where: str) -> dict[str, Any]:
    def unreadable(error: BaseException) -> Any:
        raise DatasetError(f"{where} cannot be read ({type(error).__name__}: {error}). Its fields need names of text.")

    values = attempt(lambda: dict(example.items(include_dspy=True)), unreadable)
    return values if all(type(name) is str for name in values) else unreadable(TypeError("a name is no text"))


def _more(row: Row, keys: set[str] | None, order: list[str], hidden: Mapping[str, Any]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if keys is None or keys != row[INPUTS].keys():
        more[_KEYS] = None if keys is None else sorted(keys)
    if order != [*row[INPUTS], *row[EXPECTATIONS]]:
        more[_ORDER] = order
    if hidden:
        more[_HIDDEN] = dict(hidden)
    return more


# -- values -------------------------------------------------------------------------------------


def plain_value(value: Any, where: str, secrets: Collection[str]) -> Any:
    """A value as JSON.

    Raises:
        DatasetError: If it has no plain form.
        SecretError: If a text in it looks like a secret, or holds one of those.
    """
    written = value if _is_json(value) else _nodes_of(value, where)
    if any(looks_secret(text, secrets) for text in _texts_of(written)):
        raise _secret(where)
    return written


def value_of(written: Any, where: str) -> Any:
    """The value that was written.

    Raises:
        DatasetError: If it is damaged, or of a class that may not be made here.
    """
    if _is_json(written):
        return written
    try:
        audited = _audited(written)
        _check_classes(audited, where)
        return Decoder(audited.nodes).decode(written)
    except DatasetError:
        raise
    except Exception as error:
        # Whatever a damaged row makes Python raise, or the classes that it names.
        raise DatasetError(f"{where} cannot be made here ({type(error).__name__}: {error}).") from error


def _is_json(value: Any, depth: int = 0) -> bool:
    """Whether JSON holds a value as it is, and reading it gives that again."""
    kind = type(value)
    if kind is str or value is None or kind is bool or kind is int:
        return True
    if kind is float:
        return math.isfinite(value)
    if depth > MAX_DEPTH:
        return False
    if kind is list:
        return all(_is_json(each, depth + 1) for each in value)
    if kind is dict:
        return KIND not in value and all(type(key) is str and _is_json(each, depth + 1) for key, each in value.items())
    return False


def _texts_of(written: Any) -> Iterator[str]:
    if type(written) is str:
        yield written
    elif type(written) is list:
        for each in written:
            yield from _texts_of(each)
    elif type(written) is dict:
        for key, each in written.items():
            yield key
            yield from _texts_of(each)


def _nodes_of(value: Any, where: str) -> Any:
    encoder = Encoder()
    try:
        written = _encoded(value, encoder)
        if not encoder.definitions.steps() and not encoder.left_to_constructors:
            again = Decoder(_audited(written).nodes).decode(written)
            if _encoded(again, Encoder()) == written:
                return written
        reason = "its class is not defined at the top level of a module, or is more than data"
    except SecretError:
        raise _secret(where) from None
    except (NotPlain, DspyPluginError, ImportError) as error:
        reason = str(error)
    raise DatasetError(
        f"{where} is a {type(value).__name__} that cannot be written as data: {reason}. Put what it holds into fields "
        "of texts, numbers, lists, dicts, images, dates, pydantic objects or enums of an importable module."
    )


def _encoded(value: Any, encoder: Encoder) -> Any:
    # In data, names tell nothing of secrets.
    scrubbed = encoder.scrubber.scrub(value, "it", named=False)
    try:
        written = Writer().write(encoder.encode(scrubbed, "it"))
    except RecursionError:
        raise NotPlain("it is nested too deeply") from None
    if encoder.scrubber.left_out:
        raise SecretError("")
    return written


def _audited(written: Any) -> Audit:
    found = audit({"program": written, "settings": {}, "definitions": []})
    calls = any("arguments" in node or node[KIND] == "dumped" for node in found.objects)
    if calls or found.functions or found.sources or found.imports or found.reaches_out:
        raise NotPlain("it is code, and no data")
    return found


def _check_classes(audited: Audit, where: str) -> None:
    """Refuse what would import modules: rows are data, whoever wrote them."""
    for path in audited.classes:
        module = path.partition(":")[0]
        if is_data(path):
            continue
        if os.environ.get(names.ENV_TRUST, "").strip().lower() == "data":
            raise DatasetError(f"{where} is of the class {path}, and {names.ENV_TRUST} is 'data' here.")
        if module not in sys.modules:
            raise DatasetError(f"{where} is of the class {path}. Import {module} first, if you trust it.")


def _secret(where: str) -> SecretError:
    return SecretError(
        f"{redact_text(where)}, holds a text that looks like a secret. Nothing of it was written. Take the secret out "
        "of the example, or leave such examples out with on_error='skip'."
    )

"""Pickles a program without what must not travel: secrets, past prompts and callbacks.

What can be left out is left out. A secret that sits where it cannot be left out (in a closure, in
a class that travels by value) stops the saving.
"""

import dataclasses
import io
import pickle
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from copyreg import dispatch_table
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle
import dspy
from pydantic.fields import FieldInfo
from pydantic_core import SchemaSerializer, SchemaValidator

from mlflow_dspy_plugin.errors import ProgramError, SecretError
from mlflow_dspy_plugin.packaging.code_secrets import refuse_secrets, travels_by_value
from mlflow_dspy_plugin.packaging.scrubber import Scrubber
from mlflow_dspy_plugin.redaction import environment_secrets

# What DSPy objects remember of past calls or of the process, by the class that does; each of these
# lists is saved empty. A module of the user's may hold something else under such a name.
_FORGOTTEN = {
    dspy.BaseLM: {"history", "callbacks"},
    dspy.Module: {"history", "callbacks"},
    dspy.Predict: {"traces"},
}
# What speaks of fields, where names tell nothing: a field may well be called "token".
_DATA = (dspy.Example, FieldInfo, SchemaSerializer, SchemaValidator)
# Parts of an object's state that hold attributes themselves.
_ATTRIBUTES = {"__dict__", "__pydantic_extra__", "__pydantic_private__"}


@dataclasses.dataclass(frozen=True)
class Pickled:
    """A value as bytes, without secrets.

    Attributes:
        data: The bytes.
        left_out: The places ("LM.kwargs.api_key") whose values were left out.
        secrets: Values that were left out and must stand nowhere else, by their place.
    """

    data: bytes
    left_out: list[str]
    secrets: Mapping[str, str]


def pickle_without_secrets(value: Any) -> Pickled:
    """Pickle a value by cloudpickle, without secrets.

    Raises:
        SecretError: If a secret is part of code that travels by value.
        ProgramError: If something in it cannot be pickled.
    """
    buffer = io.BytesIO()
    pickler = _ScrubbingPickler(buffer)
    try:
        pickler.dump(pickler.scrubber.scrub(value, "dspy"))
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise ProgramError(
            f"The program cannot be pickled: {error}. Remove the object that is named there from "
            "the program and from dspy.settings (open it in `forward` instead), or define "
            "`__getstate__` on its class."
        ) from error
    secrets = {f"a secret of the program ({place})": text for text, place in pickler.scrubber.secrets.items()}
    check_bytes(buffer.getvalue(), "the pickled program", secrets)
    return Pickled(buffer.getvalue(), sorted(pickler.scrubber.left_out), secrets)


def check_bytes(data: bytes, where: str, secrets: Mapping[str, str]) -> None:
    """Refuse bytes that hold a known secret, or the value of a secret environment variable.

    Args:
        data: The bytes to be saved.
        where: Their place, for the error.
        secrets: What to look for, by the words in which the error speaks of it.

    Raises:
        SecretError: Naming the secret, never its value.
    """
    variables = {f"the environment variable {n}": v for n, v in environment_secrets().items()}
    for name, value in {**secrets, **variables}.items():
        if _longest_line(value).encode() in data:
            raise SecretError(
                f"The value of {name} would be saved in {where}. Nothing was saved. Read it where "
                "it is used instead of keeping it in an attribute, a closure, a global or a "
                "constant of the program, or in what is saved beside it."
            )


def _longest_line(secret: str) -> str:
    """JSON and YAML write line breaks in ways of their own."""
    return max(secret.splitlines(), key=len)


class _ScrubbingPickler(cloudpickle.Pickler):
    """cloudpickle's, with the state of each object scrubbed on its way."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=pickle.DEFAULT_PROTOCOL)
        self.scrubber = Scrubber()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, FunctionType)):
            if travels_by_value(obj):
                refuse_secrets(obj)
            return super().reducer_override(obj)
        if isinstance(obj, ContextVar) and (place := _place_in_dspy(obj)):
            return getattr, place
        if type(obj) in self.dispatch_table or type(obj) in dispatch_table:
            return NotImplemented
        reduced = self._reduce(obj)
        return reduced if isinstance(reduced, str) else self._scrub_reduced(obj, *reduced)

    def _reduce(self, obj: Any) -> Any:
        try:
            return obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        except TypeError as error:
            place = self.scrubber.place_of(obj) or type(obj).__qualname__
            raise pickle.PicklingError(f"{place}: {error}") from error

    def _scrub_reduced(
        self,
        obj: Any,
        make: Any,
        args: Any,
        state: Any = None,
        items: Any = None,
        pairs: Any = None,
        *rest: Any,
    ) -> tuple[Any, ...]:
        """What `__reduce_ex__` gave, without secrets."""
        path = type(obj).__qualname__
        named = not isinstance(obj, _DATA) and not self.scrubber.is_data(obj)
        if items is not None:
            items = iter(self.scrubber.scrub(list(items), path, named))
        if pairs is not None:
            pairs = iter(self._scrub_pairs(pairs, path, named))
        state = None if state is None else self._scrub_state(state, obj, path, named)
        return (make, self._scrub_args(args, obj, path, named), state, items, pairs, *rest)

    def _scrub_args(self, args: Any, obj: Any, path: str, named: bool) -> tuple[Any, ...]:
        names = getattr(obj, "_fields", ()) if isinstance(obj, tuple) else ()
        if names and len(args) == len(names) + 1:
            # A named tuple: its class, then its values.
            return (args[0], *self._scrub_values(names, args[1:], path, named))
        return self.scrubber.scrub(args, path, named)

    def _scrub_pairs(self, pairs: Iterable[tuple[Any, Any]], path: str, named: bool) -> list[tuple[Any, Any]]:
        scrubbed = ((k, v, self.scrubber.scrub_attribute(v, str(k), path, named)) for k, v in pairs)
        return [(key, new) for key, old, new in scrubbed if new is not None or old is None]

    def _scrub_values(self, names: Iterable[str], values: Iterable[Any], path: str, named: bool) -> list[Any]:
        pairs = zip(names, values, strict=True)
        return [self.scrubber.scrub_attribute(value, name, path, named) for name, value in pairs]

    def _scrub_state(self, state: Any, obj: Any, path: str, named: bool) -> Any:
        """The state of an object: attributes stay, so a secret one becomes None."""
        if isinstance(state, tuple):
            return tuple(self._scrub_state(part, obj, path, named) for part in state)
        if isinstance(state, list) and dataclasses.is_dataclass(obj):
            # A frozen dataclass with slots.
            return self._scrub_values([f.name for f in dataclasses.fields(obj)], state, path, named)
        if type(state) is not dict:
            return self.scrubber.scrub(state, path, named)
        return {
            key: []
            if _is_forgotten(obj, key, value)
            else self._scrub_state(value, obj, path, named)
            if key in _ATTRIBUTES
            else self.scrubber.scrub_attribute(value, str(key), path, named)
            for key, value in state.items()
        }


def _place_in_dspy(variable: ContextVar[Any]) -> tuple[ModuleType, str] | None:
    """The module of DSPy that holds a context variable, and its name there.

    dspy 3.0 wraps the methods of a user's adapter in a function that names one, and that travels
    with them by value.
    """
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] == "dspy" and isinstance(module, ModuleType):
            for name, value in vars(module).items():
                if value is variable:
                    return module, name
    return None


def _is_forgotten(obj: Any, name: str, value: Any) -> bool:
    return type(value) is list and any(isinstance(obj, cls) and name in names for cls, names in _FORGOTTEN.items())

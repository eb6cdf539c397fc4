"""What an object is made of, without what must not travel: secrets, past prompts and callbacks."""

import copyreg
import dataclasses
import pickle
from collections.abc import Iterable
from typing import Any

import dspy
from pydantic.fields import FieldInfo
from pydantic_core import SchemaSerializer, SchemaValidator

from mlflow_dspy_plugin.redaction import is_distinctive, is_secret_name
from mlflow_dspy_plugin.scrubbing.scrubber import Scrubber

# What DSPy objects remember of past calls or of the process, by the class that does; each of these
# lists is saved empty. A module of the user's may hold something else under such a name.
_FORGOTTEN = {
    dspy.BaseLM: {"history", "callbacks"},
    dspy.Module: {"history", "callbacks"},
    dspy.Predict: {"traces"},
}
# What speaks of fields, where names tell nothing: a field may well be called "token".
_DATA = (dspy.Example, FieldInfo, SchemaSerializer, SchemaValidator)
# What a tool says of its arguments, where names tell nothing either; only the defaults are values.
_SAID_OF_ARGUMENTS = {"args", "arg_desc", "arg_types"}
# Parts of an object's state that hold attributes themselves.
_ATTRIBUTES = {"__dict__", "__pydantic_extra__", "__pydantic_private__"}


class StateScrubber(Scrubber):
    """A scrubber for objects: how Python would make them again, without secrets."""

    def reduce(self, obj: Any) -> Any:
        """What `__reduce_ex__` gives for an object, without secrets.

        Raises:
            pickle.PicklingError: If the object cannot be taken apart, with the place where it was met.
        """
        try:
            reduced = obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        except TypeError as error:
            place = self.place_of(obj) or type(obj).__qualname__
            raise pickle.PicklingError(f"{place}: {error}") from error
        return reduced if isinstance(reduced, str) else self._scrub_reduced(obj, *reduced)

    def scrub_state(self, state: Any, obj: Any) -> Any:
        """The state of an object: attributes stay, so a secret one becomes None."""
        return self._scrub_state(state, obj, type(obj).__qualname__, self._is_named(obj))

    def _is_named(self, obj: Any) -> bool:
        return not isinstance(obj, _DATA) and not self.is_data(obj)

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
        path, named = type(obj).__qualname__, self._is_named(obj)
        if items is not None:
            items = iter(self.scrub(list(items), path, named))
        if pairs is not None:
            pairs = iter(self._scrub_pairs(pairs, path, named))
        state = None if state is None else self.scrub_state(state, obj)
        return (make, self._scrub_args(args, obj, path, named), state, items, pairs, *rest)

    def _scrub_args(self, args: Any, obj: Any, path: str, named: bool) -> tuple[Any, ...]:
        names = getattr(obj, "_fields", ()) if isinstance(obj, tuple) else ()
        if names and len(args) == len(names) + 1:
            # A named tuple: its class, then its values.
            return (args[0], *self._scrub_values(names, args[1:], path, named))
        return self.scrub(args, path, named)

    def _scrub_pairs(self, pairs: Iterable[tuple[Any, Any]], path: str, named: bool) -> list[tuple[Any, Any]]:
        scrubbed = ((k, v, self.scrub_attribute(v, str(k), path, named)) for k, v in pairs)
        return [(key, new) for key, old, new in scrubbed if new is not None or old is None]

    def _scrub_values(self, names: Iterable[str], values: Iterable[Any], path: str, named: bool) -> list[Any]:
        pairs = zip(names, values, strict=True)
        return [self.scrub_attribute(value, name, path, named) for name, value in pairs]

    def _scrub_state(self, state: Any, obj: Any, path: str, named: bool) -> Any:
        if isinstance(state, tuple):
            return tuple(self._scrub_state(part, obj, path, named) for part in state)
        if isinstance(state, list) and dataclasses.is_dataclass(obj):
            # A frozen dataclass with slots.
            return self._scrub_values([f.name for f in dataclasses.fields(obj)], state, path, named)
        if type(state) is not dict:
            return self.scrub(state, path, named)
        return {key: self._scrub_part(key, value, obj, path, named) for key, value in state.items()}

    def _scrub_part(self, key: Any, value: Any, obj: Any, path: str, named: bool) -> Any:
        if _is_forgotten(obj, key, value):
            return []
        if key in _ATTRIBUTES:
            return self._scrub_state(value, obj, path, named)
        if isinstance(obj, dspy.Tool) and key in _SAID_OF_ARGUMENTS:
            return self._scrub_schemas(value, f"{path}.{key}")
        if self.is_secret(obj) and not _is_dspys(obj):
            return self.withhold(value, f"{path}.{key}")
        return self.scrub_attribute(value, str(key), path, named)

    def _scrub_schemas(self, schemas: Any, path: str) -> Any:
        kept = self.scrub(schemas, path, named=False)
        for name, schema in (kept or {}).items():
            default = schema.get("default") if isinstance(schema, dict) else None
            if is_secret_name(name) and isinstance(default, str) and is_distinctive(default):
                schema["default"] = self.withhold(schema["default"], f"{path}.{name}.default")
        return kept


def is_made_of_state(reduced: Any) -> bool:
    """Whether an object is nothing but its class and its state."""
    return (
        not isinstance(reduced, str)
        and reduced[0] is copyreg.__newobj__
        and len(reduced[1]) == 1
        and not any(part is not None for part in reduced[3:])
    )


def _is_dspys(obj: Any) -> bool:
    """Whether it is a part of a program, such as a predictor that is called `find_passwords`, rather than a value."""
    return any(cls.__module__.split(".")[0] == "dspy" for cls in type(obj).__mro__)


def _is_forgotten(obj: Any, name: str, value: Any) -> bool:
    return type(value) is list and any(isinstance(obj, cls) and name in names for cls, names in _FORGOTTEN.items())

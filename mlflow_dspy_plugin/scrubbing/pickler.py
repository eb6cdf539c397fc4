"""Pickles a program without what must not travel: secrets, past prompts and callbacks.

What can be left out is left out. A secret that sits where it cannot be left out (in a closure, in
a class that travels by value) stops the saving.
"""

import dataclasses
import io
import pickle
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from copyreg import dispatch_table
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from mlflow_dspy_plugin.errors import ProgramError, SecretError
from mlflow_dspy_plugin.redaction import environment_secrets, is_written_in
from mlflow_dspy_plugin.scrubbing.code_secrets import refuse_secrets, travels_by_value
from mlflow_dspy_plugin.scrubbing.states import StateScrubber


@dataclasses.dataclass(frozen=True)
class Pickled:
    """A value as bytes, without secrets.

    Attributes:
        data: The bytes.
        left_out: The places ("LM.kwargs.api_key") whose values were left out, see `Scrubber`.
        secrets: Values that were left out and must stand nowhere else, by their place.
    """

    data: bytes
    left_out: Mapping[str, str | None]
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
    secrets = pickler.scrubber.known_secrets()
    check_bytes(buffer.getvalue(), "the pickled program", secrets)
    return Pickled(buffer.getvalue(), pickler.scrubber.left_out, secrets)


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
        if is_written_in(data, value):
            raise SecretError(
                f"The value of {name} would be saved in {where}. Nothing was saved. Read it where "
                "it is used instead of keeping it in an attribute, a closure, a global or a "
                "constant of the program, or in what is saved beside it."
            )


class _ScrubbingPickler(cloudpickle.Pickler):
    """cloudpickle's, with the state of each object scrubbed on its way."""

    def __init__(self, file: io.BytesIO):
        super().__init__(file, protocol=pickle.DEFAULT_PROTOCOL)
        self.scrubber = StateScrubber()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, FunctionType)):
            if travels_by_value(obj):
                refuse_secrets(obj)
            reduced = super().reducer_override(obj)
            return self._scrub_class(obj, *reduced) if isinstance(obj, type) and isinstance(reduced, tuple) else reduced
        if isinstance(obj, ContextVar) and (place := _place_in_dspy(obj)):
            return getattr, place
        if type(obj) in self.dispatch_table or type(obj) in dispatch_table:
            return NotImplemented
        return self.scrubber.reduce(obj)

    def _scrub_class(self, cls: type, make: Any, args: Any, state: Any = None, *rest: Any) -> tuple[Any, ...]:
        """What is said of the fields of a class stands in what pydantic has made of it, too."""
        return (make, args, self.scrubber.scrub(state, cls.__qualname__, named=False), *rest)


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

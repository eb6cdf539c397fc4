"""Unpickles what another release of Python has pickled.

cloudpickle writes functions as the bytecode of its Python, which another one cannot read, or reads and then crashes.
Even a signature like "question -> answer" brings one along: a method of pydantic's. Functions of pydantic and DSPy are
here anyway, so a pickle can do without them; functions of the user's are refused.
"""

import io
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloudpickle import cloudpickle
from mlflow.models import Model
from pydantic import BaseModel

from mlflow_dspy_plugin.errors import ModelFolderError

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

# The packages whose functions are left out.
_HERE_TOO = {"pydantic", "dspy"}


def python_that_saved(folder: Path) -> str:
    """The Python that saved a model, as "3.10"."""
    version = Model.load(str(folder)).flavors["python_function"]["python_version"]
    return ".".join(version.split(".")[:2])


def unpickle(data: bytes, python: str) -> Any:
    """The value that cloudpickle or pickle has written.

    Args:
        data: What it has written.
        python: The Python that it ran in, as "3.10"; with any other than this one, functions of pydantic and DSPy
            come back as `ForeignFunction`.

    Raises:
        ModelFolderError: If it holds code of the user's that another Python has compiled.
    """
    if python == HERE:
        return pickle.loads(data)
    unpickler = _ForeignUnpickler(data, python)
    value = unpickler.load()
    for model in unpickler.models:
        # What pydantic has made of the class holds its function.
        model.model_rebuild(force=True)
    return value


class ForeignFunction:
    """Stands for a function of pydantic's or DSPy's that another Python has compiled."""

    def __init__(self, name: str, python: str):
        self._name, self._python = name, python

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise ModelFolderError(
            f"The model's {self._name!r} was compiled by Python {self._python}, and this is Python {HERE}. "
            f"Load the model with Python {self._python}, and log it again."
        )


class _ForeignUnpickler(pickle.Unpickler):
    """pickle's, where code is never made of another Python's bytecode.

    Attributes:
        models: The pydantic models that were defined by the pickle.
    """

    def __init__(self, data: bytes, python: str):
        super().__init__(io.BytesIO(data))
        self.models: list[type[BaseModel]] = []
        self._python = python
        # What cloudpickle's pickles call, by its name in cloudpickle.
        self._own: dict[str, Callable[..., Any]] = {
            "_builtin_type": lambda name: _Code if name == "CodeType" else cloudpickle._builtin_type(name),
            "_make_function": self._make_function,
            "_function_setstate": lambda function, state: None,
            "_class_setstate": self._class_setstate,
        }

    def find_class(self, module: str, name: str) -> Any:
        if module == "cloudpickle.cloudpickle" and name in self._own:
            return self._own[name]
        return super().find_class(module, name)

    def _make_function(self, code: "_Code", base_globals: dict[str, Any], *_: Any) -> ForeignFunction:
        module, name = str(base_globals.get("__name__")), code.name
        if module.split(".")[0] in _HERE_TOO:
            return ForeignFunction(f"{module}.{name}", self._python)
        raise ModelFolderError(
            f"The model holds the function {name!r} of the module {module!r} as Python {self._python} has compiled it, "
            f"and this is Python {HERE}. Load it with Python {self._python}; or put the code into a module that can be "
            "imported, ship it with code_paths=[...], and log the model again."
        )

    def _class_setstate(self, cls: type, state: Any) -> type:
        if issubclass(cls, BaseModel):
            self.models.append(cls)
        return cloudpickle._class_setstate(cls, state)


class _Code:
    """Code that is not made."""

    def __init__(self, *parts: Any):
        # The place of `co_name` among the arguments of `types.CodeType`, from Python 3.8 on.
        self.name = parts[11]

"""Classes and functions by their paths, and which paths a model may make this process follow."""

import importlib
import sys
from types import MethodType, ModuleType
from typing import Any

import dspy

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.seams.programs import is_part_of_program

# Types of the standard library that serve as annotations and values. Nothing else of it may be
# named: its functions can do anything.
_STANDARD_TYPES = {
    "builtins": {"bool", "bytes", "dict", "float", "frozenset", "int", "list", "object", "set", "str", "tuple"},
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "collections.abc": {"Callable", "Iterable", "Iterator", "Mapping", "MutableMapping", "Sequence", "Set"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "enum": {"Enum", "IntEnum"},
    "fractions": {"Fraction"},
    "pathlib": {"Path", "PosixPath", "PurePath", "PurePosixPath"},
    "uuid": {"UUID"},
}  # fmt: skip
# Modules that take over the process that imports them.
_SCRIPTS = {"dspy.primitives.local_interpreter_worker"}
# Packages whose classes are no code of a user's.
_DATA_PACKAGES = {"dspy", "pydantic"}


def path_of(value: Any) -> str | None:
    """The path under which another process finds the same class or function; None if there is none."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name:
        return None
    if module.split(".")[0] == "dspy" and getattr(dspy, name, None) is value:
        # The public name outlives the place of the file.
        return f"dspy:{name}"
    for standard, types in _STANDARD_TYPES.items():
        # Python 3.13 has moved some of them to private modules.
        if name in types and getattr(sys.modules.get(standard), name, None) is value:
            return f"{standard}:{name}"
    path = f"{module}:{name}"
    if not is_allowed(path) or module not in sys.modules:
        return None
    try:
        found = _follow(sys.modules[module], path)
    except ModelFolderError:
        return None
    return path if found is value or isinstance(value, MethodType) and found == value else None


def is_allowed(path: str) -> bool:
    """Whether a path may be followed at all, decided by its text alone."""
    module, _, name = path.partition(":")
    parts = [*module.split("."), *name.split(".")]
    if not all(part.isidentifier() and not part.startswith("__") for part in parts):
        return False
    if parts[0] in sys.stdlib_module_names:
        return name in _STANDARD_TYPES.get(module, ())
    return module not in _SCRIPTS


def is_data(path: str) -> bool:
    """Whether a path leads to what brings no code of a user's: DSPy's own classes and plain types."""
    top = path.partition(":")[0].split(".")[0]
    return top in _DATA_PACKAGES or top in sys.stdlib_module_names


def resolve(path: str) -> Any:
    """What a path leads to.

    Raises:
        ModelFolderError: If the path may not be followed, or leads to nothing.
        ModuleNotFoundError: If its module is not installed.
    """
    if not is_allowed(path):
        raise tampered(path, "which a model may not name")
    return _follow(importlib.import_module(path.partition(":")[0]), path)


def checked_class(found: Any, path: str) -> type:
    """The class that a path led to, refused unless programs are made of its kind, or the model brings its source.

    Raises:
        ModelFolderError: If it is no class, or of another kind.
    """
    if not isinstance(found, type) or not (path.startswith(":") or is_part_of_program(found)):
        raise tampered(path, "which is no module, language model, adapter, retriever or value of DSPy's")
    return found


def tampered(path: str, what: str) -> ModelFolderError:
    """The error for a path that no model of ours holds."""
    return ModelFolderError(f"The model names {path!r}, {what}. Do not load it: it was tampered with.")


def _follow(module: ModuleType, path: str) -> Any:
    name = path.partition(":")[2]
    found: Any = module
    for part in name.split("."):
        if found is not module and not isinstance(found, type):
            raise tampered(path, "which is no class or function of that module")
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ModelFolderError(
                f"The model needs {name!r} of the module {module.__name__!r}, which has no such name "
                "here. Install the version that it was saved with; see the model's requirements.txt."
            ) from None
    # What a module has merely imported is not its own: `some_module:os.system`.
    home = getattr(found, "__module__", None) or ""
    if module.__name__ in _STANDARD_TYPES:
        return found
    if home != module.__name__ and not (module is dspy and home.split(".")[0] == "dspy"):
        raise tampered(path, f"which belongs to {home or 'no module'!r}")
    return found

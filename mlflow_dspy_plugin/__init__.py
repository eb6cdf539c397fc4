"""DSPy support for MLflow: what `mlflow.dspy` means once this package is installed.

Every public name is resolved on first use, so importing this package imports neither dspy nor the
flavor: MLflow imports it in every process. No submodule may bear a public name: it would hide it.
"""

import importlib
from typing import Any

try:
    from mlflow_dspy_plugin.names import DISTRIBUTION, PUBLIC_NAMES
except Exception as cause:
    # Loading an entry point imports this module first, and MLflow forgives an ImportError alone.
    raise ImportError(f"mlflow-dspy-plugin is broken ({type(cause).__name__}: {cause}); reinstall it") from cause

__all__ = sorted(name for name in PUBLIC_NAMES if not name.startswith("_"))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(DISTRIBUTION)
    if name not in PUBLIC_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{PUBLIC_NAMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "dspy":
            raise
        from mlflow_dspy_plugin.errors import DspyNotInstalledError

        raise DspyNotInstalledError() from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC_NAMES, "__version__"})

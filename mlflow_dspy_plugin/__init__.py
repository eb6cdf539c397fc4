"""DSPy support for MLflow: what `mlflow.dspy` means once this package is installed.

It has every function of MLflow's own `mlflow.dspy`, with the same arguments, and more:

- Models, which load by `mlflow.pyfunc.load_model` and are served by `mlflow models serve`:
  `log_model`, `save_model`, `load_model`, `inspect_model`, `get_default_pip_requirements`, `get_default_conda_env`
- Traces, as `mlflow.trace` makes and `mlflow.search_traces` finds them:
  `autolog`, `context`, `trace_id_of`
- Runs of optimizers, of `dspy.Evaluate` and of your own search:
  `track_optimization`, `compare`
- Data, between `dspy.Example`, traces and `mlflow.genai.datasets`; for `mlflow.log_input` see `mlflow.data.from_dspy`:
  `examples_from_traces`, `examples_to_records`, `examples_from_records`
- Evaluations, by `mlflow.genai.evaluate`, `dspy.Evaluate` and optimizers:
  `scorer`, `metric`, `judge`, `to_predict_fn`
- Prompts, in the registry of `mlflow.genai.register_prompt` and `mlflow.genai.load_prompt`:
  `register_prompts`, `load_prompts`

What cannot be done raises an error of `mlflow_dspy_plugin.errors`, which is an `mlflow.exceptions.MlflowException` too.
Type checkers read `mlflow.dspy` from MLflow's own files; `import mlflow_dspy_plugin` gives them the same functions.
"""

# Every public name is resolved on first use, so importing this package imports neither dspy nor the flavor: MLflow
# imports it in every process. No submodule may bear a public name: it would hide it.

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

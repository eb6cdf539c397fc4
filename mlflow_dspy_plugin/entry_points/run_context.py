"""`mlflow.run_context_provider`: loaded during `import mlflow`, so it starts discovery.

Anything but an ImportError that leaves this module breaks `import mlflow` for everyone.
"""

import sys
import warnings

from mlflow.tracking.context.abstract_context import RunContextProvider

try:
    from mlflow_dspy_plugin import discovery, names

    discovery.install()
except Exception as cause:
    discovery = None
    warnings.warn(
        f"mlflow-dspy-plugin could not be set up ({type(cause).__name__}: {cause}), so mlflow.dspy "
        "is MLflow's own flavor. Reinstall it, or remove it: pip uninstall mlflow-dspy-plugin",
        stacklevel=2,
    )


class DspyRunContext(RunContextProvider):
    """Tags a run with the versions of dspy and of this package, once dspy is imported."""

    def in_context(self) -> bool:
        if discovery is None or not discovery.is_switched_on():
            return False
        return hasattr(sys.modules.get("dspy"), "__version__")

    def tags(self) -> dict[str, str]:
        import mlflow_dspy_plugin

        return {
            names.TAG_DSPY_VERSION: sys.modules["dspy"].__version__,
            names.TAG_PLUGIN_VERSION: mlflow_dspy_plugin.__version__,
        }

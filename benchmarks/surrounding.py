"""What the processes of a benchmark are surrounded by: the same, whoever starts it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FOREIGN = ("MLFLOW_", "DSPY_", "OTEL_", "XDG_")


def variables(folder: Path) -> dict[str, str]:
    """The environment variables of a process: nothing of the caller's MLflow and DSPy, and all files in the folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **kept,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DSPY_CACHEDIR": str(folder / "cache"),
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(ROOT),
    }

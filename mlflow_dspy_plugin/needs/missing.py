"""Says what a model needs that cannot be found where it loads, all of it at once."""

from collections.abc import Mapping
from pathlib import Path

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.needs.installed import spec_of


def check_modules(recorded: Mapping[str, str | None], folder: Path) -> None:
    """Refuse a model whose modules cannot be found here; none of them is imported for it.

    Args:
        recorded: What `Needs.at_load` gave when the model was saved.
        folder: The model folder; the code it ships has to be on `sys.path` already.

    Raises:
        ModelFolderError: Naming all modules that are missing, and how to get them.
    """
    missing = {name: line for name, line in recorded.items() if spec_of(name) is None}
    if not missing:
        return
    lines = sorted({line for line in missing.values() if line})
    own = [name for name, line in missing.items() if not line]
    advice = []
    if lines:
        advice.append("Install what is missing: pip install " + " ".join(f'"{line}"' for line in lines))
    if own:
        verb = "have" if len(own) > 1 else "has"
        advice.append(f"{_and(own)} {verb} to be on the Python path, or logged with code_paths=[...]")
    raise ModelFolderError(
        f"The model in {folder} needs modules that cannot be found here: {', '.join(missing)}. {'. '.join(advice)}."
    )


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

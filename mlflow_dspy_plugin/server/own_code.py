"""Code that models bring along, of which a process can have one state only: the one that it has imported."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.server.models import ServedModel

# The folders that modules of this process are from, which stay as long as it does.
_imported_from: list[Any] = []


def check_code(served: ServedModel) -> None:
    """Refuse a model whose own modules are imported in another state: its program would run that. Else keep them.

    Raises:
        ModelFolderError: Naming those modules.
    """
    code = served.metadata.flavors.get(names.FLAVOR, {}).get(names.KEY_CODE)
    changed = sorted(_imported_otherwise(served.folder / code)) if code else []
    if changed:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(served.folder / code))
        raise ModelFolderError(
            f"The model brings {', '.join(changed)} in another state than the one that this process has imported. "
            "Start the server again to serve it."
        )
    if code:
        # They may import others of that folder later.
        _imported_from.append(served.files)


def _imported_otherwise(code: Path) -> Iterator[str]:
    for path in code.rglob("*.py"):
        parts = path.relative_to(code).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        imported = getattr(sys.modules.get(name), "__file__", None)
        if imported and Path(imported).read_bytes() != path.read_bytes():
            yield name

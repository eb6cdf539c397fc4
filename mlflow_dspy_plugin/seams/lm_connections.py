"""How many connections the clients of language models open at once.

From dspy 3.4 on DSPy has a client of its own, which opens 100 and takes no other number from `dspy.LM`; a hundred and
first call waits for one of them. Until it does, or a setting of an LM's says it, the number is given where DSPy makes
the client.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from mlflow_dspy_plugin.seams.patch import patch

_EXECUTION = "dspy.clients.execution"
_CONFIG, _COUNT = "RouterConfig", "max_connections"


def allow_connections(count: int) -> Callable[[], None]:
    """Let each language model that has not been asked yet open this many connections; returns the undo.

    Other releases of DSPy have no such limit, or none that can be told here, and keep theirs.
    """
    if importlib.util.find_spec(_EXECUTION) is None:
        return _nothing
    execution = importlib.import_module(_EXECUTION)
    config = getattr(execution, _CONFIG, None)
    if config is None or _COUNT not in {field.name for field in fields(config)}:
        return _nothing

    def allowing(original: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **{_COUNT: count, **kwargs})

        return made

    return patch(execution, _CONFIG, allowing)


def _nothing() -> None:
    """There is nothing to undo."""

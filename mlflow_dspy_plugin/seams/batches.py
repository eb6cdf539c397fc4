"""The rows of a batch: DSPy runs a function over items in threads, for `Evaluate`, `Parallel` and optimizers."""

from collections.abc import Callable
from typing import Any

from dspy.utils.parallelizer import ParallelExecutor

from mlflow_dspy_plugin.seams.patch import patch

# Called with the function and an item, in the thread and context of the row; gives what the function gives.
Around = Callable[[Callable[[Any], Any], Any], Any]


def watch_batches(begin: Callable[[], Around | None]) -> Callable[[], None]:
    """Ask, where a batch begins, what is put around each of its rows, if anything; returns the undo."""

    def make(original):
        def execute(self, function, data):
            around = begin()
            if around is None:
                return original(self, function, data)
            return original(self, lambda item: around(function, item), data)

        return execute

    return patch(ParallelExecutor, "execute", make)

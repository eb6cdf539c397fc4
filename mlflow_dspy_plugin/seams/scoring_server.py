"""How many requests MLflow's scoring server answers at a time.

It hands each to the default executor of its event loop, which has as many threads as the machine has cores, and four
more: far fewer than a language model can take, since a thread only waits for it.
"""

import asyncio
import contextlib
import inspect
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from mlflow_dspy_plugin.seams.patch import patch

# The module that loads the model and then makes the app, while it is imported.
_APP = "mlflow.pyfunc.scoring_server.app"


def loads_for_server() -> bool:
    """Whether MLflow's scoring server is loading its model now."""
    module = sys.modules.get(_APP)
    return module is not None and not hasattr(module, "app")


def answer_at_a_time(requests: int, waiting: int) -> None:
    """Have the scoring server that is loading its model answer this many requests at a time.

    A release of FastAPI that cannot be told what to do at its start keeps its pace.

    Args:
        requests: How many.
        waiting: How many more may wait; whoever comes then is told to come back (503).
    """
    import fastapi

    if "lifespan" not in inspect.signature(fastapi.FastAPI.__init__).parameters:
        return

    @contextlib.asynccontextmanager
    async def with_pool(app: Any) -> AsyncIterator[None]:
        # The loop ends it, as it would have ended its own.
        asyncio.get_running_loop().set_default_executor(BoundedPool(requests, waiting))
        yield

    def make(original):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            undo()
            original(self, *args, **{"lifespan": with_pool, **kwargs})

        return __init__

    # The server makes its app of it next; uvicorn makes the loop itself, and tells nobody.
    undo = patch(fastapi.FastAPI, "__init__", make)


class BoundedPool(ThreadPoolExecutor):
    """A pool of threads that refuses work once too much of it waits."""

    def __init__(self, threads: int, waiting: int) -> None:
        super().__init__(threads, thread_name_prefix="mlflow-dspy-requests")
        self._room = threading.Semaphore(threads + waiting)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Run a function in one of the threads.

        Raises:
            MlflowException: If too many wait.
        """
        if not self._room.acquire(blocking=False):
            raise MlflowException(
                "The model server has as many requests as it can take. Send this one again later.",
                error_code=TEMPORARILY_UNAVAILABLE,
            )
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._room.release())
        return future

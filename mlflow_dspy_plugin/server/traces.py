"""When a server's requests are traced: from the moment at which MLflow knows the experiment that traces belong to.

Else it asks the tracking server for it whenever a trace begins, in the event loop, where all requests wait for that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from mlflow_dspy_plugin.boundary import attempt, warn
from mlflow_dspy_plugin.delivery.adoption import stand_back
from mlflow_dspy_plugin.seams.active_run import settle_experiment
from mlflow_dspy_plugin.switch import autolog

# A store that is there answers sooner; one that is not must not keep the server from answering.
_PATIENCE = 15.0
_AGAIN = 30.0


@contextlib.asynccontextmanager
async def tracing() -> AsyncIterator[None]:
    """A block in which requests are traced: from its beginning on, or once the tracking server is there."""
    begun = asyncio.ensure_future(_begin())
    try:
        await asyncio.wait({begun}, timeout=_PATIENCE)
        yield
    finally:
        begun.cancel()


async def _begin() -> None:
    while (error := await asyncio.to_thread(attempt, settle_experiment, lambda error: error)) is not None:
        warn("Requests are not traced yet: the experiment cannot be asked for (%s).", type(error).__name__)
        await asyncio.sleep(_AGAIN)
    autolog()
    stand_back()

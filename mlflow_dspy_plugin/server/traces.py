"""When a server's requests are traced: from the moment at which MLflow knows the experiment that traces belong to.

Else it asks the tracking server for it whenever a trace begins, in the event loop, where all requests wait for that.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

from mlflow_dspy_plugin.boundary import attempt, warn
from mlflow_dspy_plugin.delivery.adoption import stand_back
from mlflow_dspy_plugin.seams.active_run import settle_experiment
from mlflow_dspy_plugin.switch import autolog
from mlflow_dspy_plugin.tracing.context import context

# A store that is there answers sooner; one that is not must not keep the server from answering.
_PATIENCE = 15.0
_AGAIN = 30.0


class Traces:
    """The traces of a server's requests.

    Args:
        are_wanted: Whether there are to be any.
    """

    def __init__(self, are_wanted: bool) -> None:
        self._are_wanted, self._have_begun = are_wanted, False

    @contextlib.asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """A block in which requests are traced: from its beginning on, or once the tracking server is there."""
        if not self._are_wanted:
            yield
            return
        beginning = asyncio.ensure_future(self._begin())
        try:
            await asyncio.wait({beginning}, timeout=_PATIENCE)
            yield
        finally:
            beginning.cancel()

    def of_a_request(self) -> AbstractContextManager[None]:
        """A block in which a request is answered."""
        return contextlib.nullcontext() if self._have_begun else context(enabled=False)

    async def _begin(self) -> None:
        await _settled()
        autolog()
        stand_back()
        self._have_begun = True


async def _settled() -> None:
    while (error := await asyncio.to_thread(attempt, settle_experiment, lambda error: error)) is not None:
        warn("Requests are not traced yet: the experiment cannot be asked for (%s).", type(error).__name__)
        await asyncio.sleep(_AGAIN)

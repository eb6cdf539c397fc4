"""The requests of MLflow's scoring server, answered in an event loop."""

import asyncio
from collections.abc import Callable
from typing import Any

from mlflow.models import Model

from mlflow_dspy_plugin.seams.invocations import Invocations, written
from mlflow_dspy_plugin.serving.admission import Admission

_LONG = 64 * 1024


class Answering:
    """Answers requests to one model.

    Args:
        model: The model; has a coroutine `apredict`.
        metadata: Its `MLmodel` file.
        at_a_time: How many requests are answered at a time.
        waiting: How many more may wait.
    """

    def __init__(self, model: Any, metadata: Model, at_a_time: int, waiting: int) -> None:
        self._model = model
        self._invocations = Invocations(metadata)
        self._admission = Admission(at_a_time, waiting)

    async def text(self, body: bytes, content_type: str) -> str:
        """The JSON of the answer to a request.

        Raises:
            MlflowException: If it cannot be read or answered, or too many wait.
        """
        async with self._admission.admitted():
            read = await self._done(body, self._invocations.read, body, content_type)
            with self._invocations.answering():
                answer = await self._model.apredict(read.data, read.params)
        return await self._done(body, written, answer, read.is_unwrapped)

    async def _done(self, body: bytes, work: Callable[..., Any], *args: Any) -> Any:
        """What is done for a request; in a thread for a long one, as MLflow does it: meanwhile others are answered."""
        return await asyncio.to_thread(work, *args) if len(body) > _LONG else work(*args)

"""The requests of MLflow's scoring server, answered in an event loop."""

from typing import Any

from mlflow.models import Model

from mlflow_dspy_plugin.seams.invocations import Invocations, written
from mlflow_dspy_plugin.serving.admission import Admission


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
            read = self._invocations.read(body, content_type)
            with self._invocations.answering():
                answer = await self._model.apredict(read.data, read.params)
        return written(answer, read.is_unwrapped)

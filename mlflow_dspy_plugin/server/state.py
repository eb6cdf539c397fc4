"""What all requests to a server share."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from mlflow_dspy_plugin.metering import Stopwatch
from mlflow_dspy_plugin.server.metrics import Metrics
from mlflow_dspy_plugin.server.models import Models, ServedModel
from mlflow_dspy_plugin.server.observing import current_request
from mlflow_dspy_plugin.server.settings import ServerSettings
from mlflow_dspy_plugin.server.traces import Traces
from mlflow_dspy_plugin.serving.admission import Admission


@dataclass(frozen=True)
class ServerState:
    """What a server has while it runs.

    Attributes:
        settings: What it was told.
        models: The models that it serves.
        admission: Whose turn it is.
        traces: Of its requests.
        metrics: Keeps figures; None where nothing is installed that does.
    """

    settings: ServerSettings
    models: Models
    admission: Admission
    traces: Traces
    metrics: Metrics | None = None

    @contextlib.asynccontextmanager
    async def turn(self, served: ServedModel) -> AsyncIterator[None]:
        """A block for as many requests as may be answered at a time.

        Raises:
            CallError: If too many wait.
        """
        request, watch = current_request(), Stopwatch()
        request.model, request.version = served.name, served.version
        async with self.admission.admitted():
            request.queue_seconds = watch.seconds
            with self.traces.of_a_request():
                yield

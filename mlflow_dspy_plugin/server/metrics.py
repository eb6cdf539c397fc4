"""What the requests of a server come to, in the form that Prometheus reads.

prometheus_client keeps the figures; it comes with the extra `serve`.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mlflow.tracing.constant import TokenUsageKey

from mlflow_dspy_plugin.server.models import Models
from mlflow_dspy_plugin.server.observing import Request
from mlflow_dspy_plugin.serving.admission import Admission

INSTALL = "pip install 'mlflow-dspy-plugin[serve]'"
_PREFIX = "mlflow_dspy"
# Language models take from a tenth of a second to minutes.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0)
# MLflow's name of tokens -> what they are called here.
_TOKENS = {TokenUsageKey.INPUT_TOKENS: "input", TokenUsageKey.OUTPUT_TOKENS: "output"}
# Whose client has left before there was an answer: nginx has no other number for it either.
_LEFT = 499


class Server(Protocol):
    """What is asked of a server that runs."""

    models: Models
    admission: Admission


def are_installed() -> bool:
    """Whether there is what keeps the figures."""
    return importlib.util.find_spec("prometheus_client") is not None


class Metrics:
    """Counts requests, as an observer of them.

    Args:
        now: The server, once it has begun.
    """

    def __init__(self, now: Callable[[], Server | None]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

        # One of its own: there may be several servers in a process.
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Now(now))
        of_model = ["model"]
        self._requests = Counter(
            f"{_PREFIX}_requests", "Requests that have ended.", ["path", "model", "status"], registry=registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds",
            "How long requests have taken.",
            ["path", "model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue = Histogram(
            f"{_PREFIX}_queue_seconds",
            "How long requests have waited for their turn.",
            of_model,
            buckets=_SECONDS,
            registry=registry,
        )
        self._tokens = Counter(
            f"{_PREFIX}_tokens", "Tokens that language models were paid for.", ["model", "kind"], registry=registry
        )
        self._cost = Counter(f"{_PREFIX}_cost_usd", "What they cost, where that is known.", of_model, registry=registry)

    def begin(self, request: Request) -> None:
        """The server itself knows how many there are."""

    def end(self, request: Request) -> None:
        """Count it."""
        path, model = request.path or "other", request.model or ""
        self._requests.labels(path, model, _LEFT if request.status is None else request.status).inc()
        self._seconds.labels(path, model).observe(request.seconds)
        if request.model:
            self._queue.labels(model).observe(request.queue_seconds)
            self._count_spent(request, model)

    def _count_spent(self, request: Request, model: str) -> None:
        for name, kind in _TOKENS.items():
            if tokens := request.meter.total(name):
                self._tokens.labels(model, kind).inc(tokens)
        if cost := request.meter.total("cost"):
            self._cost.labels(model).inc(cost)

    def page(self, accepted: str = "") -> tuple[bytes, str]:
        """All figures, and the type of what that is.

        Args:
            accepted: The header `Accept` of who asks.
        """
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accepted)
        return encode(self._registry), content_type


class _Now:
    """What a server can be asked at any time."""

    def __init__(self, now: Callable[[], Server | None]) -> None:
        self._now = now

    def collect(self) -> Iterator[Any]:
        """The figures, as prometheus_client asks for them."""
        from prometheus_client.core import GaugeMetricFamily

        if (server := self._now()) is None:
            return
        running, queued = server.admission.running, server.admission.queued
        yield GaugeMetricFamily(f"{_PREFIX}_requests_in_flight", "Requests that are answered now.", running)
        yield GaugeMetricFamily(f"{_PREFIX}_requests_queued", "Requests that wait for their turn.", queued)
        info = GaugeMetricFamily(
            f"{_PREFIX}_model_info", "The models that answer, and their versions.", labels=["model", "version"]
        )
        failed = GaugeMetricFamily(
            f"{_PREFIX}_model_reload_failed", "Whether a newer version could not be loaded.", labels=["model"]
        )
        for served in server.models:
            info.add_metric([served.name, served.version or ""], 1)
            failed.add_metric([served.name], int(server.models.failure(served.name) is not None))
        yield from (info, failed)

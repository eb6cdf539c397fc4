"""Who is measured: what switches each on in its process, and how it is told to send what it has."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

EXPERIMENT_VARIABLE = "BENCHMARK_EXPERIMENT_ID"
Call = Callable[[str], Any]


@dataclass(frozen=True)
class Running:
    """A contender that is switched on.

    Attributes:
        call: Calls the program with a question.
        flush: Sends what waits to be sent.
    """

    call: Call
    flush: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Contender:
    """One way to run the program.

    Attributes:
        what: It, in words.
        start: Switches it on in the process that it is measured in.
        plugin: Whether `mlflow.dspy` means this package there.
        traces: Whether calls leave traces.
        stores: The kinds of store that it can send to.
        needs: The modules that it cannot do without.
    """

    what: str
    start: Callable[[Any], Running]
    plugin: bool = False
    traces: bool = True
    stores: tuple[str, ...] = ("sqlite", "server", "discard")
    needs: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether it can run here."""
        return all(_is_installed(module) for module in self.needs)


def untraced(program: Any) -> Running:
    """The program alone."""
    return Running(lambda question: program(question=question))


def with_empty_callback(program: Any) -> Running:
    """DSPy's dispatch to a callback that does nothing."""
    import dspy
    from dspy.utils.callback import BaseCallback

    dspy.configure(callbacks=[BaseCallback()])
    return untraced(program)


def with_bare_spans(program: Any) -> Running:
    """An empty callback, and after each call its spans through MLflow's span API."""
    import mlflow

    from benchmarks.tracing import floor

    call = with_empty_callback(program).call
    events = floor.spans_of(lambda: call("What kind of bear is best?"))

    def call_and_open(question: str) -> Any:
        result = call(question)
        floor.open_again(events, question)
        return result

    return Running(call_and_open, mlflow.flush_trace_async_logging)


def with_autolog(program: Any) -> Running:
    """`mlflow.dspy.autolog()`, of this package or of MLflow."""
    import mlflow.dspy

    mlflow.dspy.autolog()
    return Running(untraced(program).call, mlflow.flush_trace_async_logging)


def with_autolog_taken_back(program: Any) -> Running:
    """`autolog()`, and `autolog(disable=True)`."""
    import mlflow.dspy

    mlflow.dspy.autolog()
    mlflow.dspy.autolog(disable=True)
    return untraced(program)


def with_tracing_disabled(program: Any) -> Running:
    """`autolog()`, and `mlflow.tracing.disable()`."""
    import mlflow.dspy

    mlflow.dspy.autolog()
    mlflow.tracing.disable()
    return untraced(program)


def with_openinference(program: Any) -> Running:
    """OpenInference's instrumentation; its spans go to `mlflow server` by OTLP."""
    from openinference.instrumentation.dspy import DSPyInstrumentor
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(
        endpoint=f"{os.environ['MLFLOW_TRACKING_URI']}/v1/traces",
        headers={"x-mlflow-experiment-id": os.environ[EXPERIMENT_VARIABLE]},
    )
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    DSPyInstrumentor().instrument(tracer_provider=provider)
    return Running(untraced(program).call, provider.force_flush)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


CONTENDERS = {
    "none": Contender("no tracing", untraced, traces=False),
    "callback": Contender("an empty callback", with_empty_callback, traces=False),
    "floor": Contender("an empty callback and MLflow's bare spans", with_bare_spans),
    "plugin": Contender("this package", with_autolog, plugin=True),
    "mlflow": Contender("MLflow's own flavor", with_autolog),
    "openinference": Contender(
        "OpenInference, OTLP to the server",
        with_openinference,
        stores=("server",),
        needs=("openinference.instrumentation.dspy", "opentelemetry.exporter.otlp.proto.http"),
    ),
    "installed": Contender("plugin installed, not asked", untraced, plugin=True, traces=False),
    "autolog-off": Contender("autolog(disable=True)", with_autolog_taken_back, plugin=True, traces=False),
    "tracing-off": Contender("mlflow.tracing.disable()", with_tracing_disabled, plugin=True, traces=False),
    "mlflow-tracing-off": Contender("the same, own flavor", with_tracing_disabled, traces=False),
}

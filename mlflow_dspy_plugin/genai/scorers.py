"""A DSPy metric as an MLflow scorer."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from mlflow.entities import AssessmentError, AssessmentSource, Feedback
from mlflow.genai.scorers import Scorer
from pydantic import Field, PrivateAttr

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.errors import ScoringError
from mlflow_dspy_plugin.genai.scored_items import example_of, failure, prediction_of
from mlflow_dspy_plugin.tracking.feedback import feedback_of, metric_name, value_of

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
# What DSPy calls every metric with: an example and a prediction.
_GIVEN = 2


def scorer(metric: Callable[..., Any], name: str | None = None, aggregations: list[Any] | None = None) -> Scorer:
    """Make an MLflow scorer of a DSPy metric, for `mlflow.genai.evaluate(..., scorers=[...])`.

    The metric gets the item's inputs and expectations as one `dspy.Example`, and what the program returned as a
    `dspy.Prediction`: the object itself where a program is the `predict_fn`, else one of the fields in the output or
    in the trace. Its score becomes the value, and the `feedback` beside it, which GEPA reads, the rationale. A metric
    that raises, or gives no score, is an error of that item alone; MLflow counts and shows it.

    Like other scorers of a class of their own, it cannot be registered with a server (`Scorer.register`).

    Args:
        metric: A function of (example, prediction), or with `trace`, `pred_name` and `pred_trace` after them, which get
            None; any other callable or `dspy.Module` that takes these, such as `dspy.evaluate.SemanticF1()`. It gives
            a number, True, False or a text, or a `dspy.Prediction` with `score` and `feedback`.
        name: What the score is called in MLflow; by default as the function or class is.
        aggregations: How scores of items are made one metric of the run, as MLflow takes it; the mean by default.

    Returns:
        The scorer.

    Raises:
        ScoringError: If the metric cannot be called.
    """
    if not callable(metric):
        raise ScoringError(f"scorer() got a {type(metric).__name__}. Give a DSPy metric: metric(example, prediction).")
    return MetricScorer(metric, name=name or metric_name(metric), aggregations=aggregations)


class MetricScorer(Scorer):
    """Asks a DSPy metric.

    Args:
        metric: The metric.
        fields: Those of MLflow's `Scorer`.

    Attributes:
        definition: The source of the metric: MLflow tells scorers of one class and name apart by their fields.
    """

    definition: str | None = Field(default=None, repr=False)
    _metric: Any = PrivateAttr()
    _spare: tuple[None, ...] = PrivateAttr()

    def __init__(self, metric: Callable[..., Any], **fields: Any) -> None:
        super().__init__(definition=_source_of(metric), **fields)
        self._metric, self._spare = metric, _spare_arguments(metric)

    def __call__(self, *, inputs: Any = None, outputs: Any = None, expectations: Any = None) -> Feedback:
        """Score one item.

        Args:
            inputs: What the program was given, by field.
            outputs: What it gave.
            expectations: What else is known of the item, by field.

        Returns:
            The score with its rationale, or the error.
        """
        return attempt(
            lambda: self._scored(inputs, outputs, expectations),
            lambda error: failed(self.name, failure(f"The metric {self.name}", error, inputs)),
        )

    def _scored(self, inputs: Any, outputs: Any, expectations: Any) -> Feedback:
        example = example_of(inputs, expectations)
        score = self._metric(example, prediction_of(outputs, expectations), *self._spare)
        value = value_of(score)
        if value is None:
            raise ScoringError(f"It returned {score!r}, which is no score.")
        return Feedback(name=self.name, value=value, rationale=feedback_of(score), source=_source(self.name))


def failed(name: str, error: ScoringError, source_type: str = "CODE") -> Feedback:
    """That an item has no score, in MLflow's form."""
    told = AssessmentError(error_code=type(error).__name__, error_message=error.message)
    return Feedback(name=name, error=told, source=_source(name, source_type))


def _source(name: str, source_type: str = "CODE") -> AssessmentSource:
    return AssessmentSource(source_type=source_type, source_id=name)


def _source_of(metric: Callable[..., Any]) -> str | None:
    inner = metric
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = inner if inspect.isroutine(inner) else type(inner)
    return attempt(lambda: inspect.getsource(code), lambda error: None)


def _spare_arguments(metric: Callable[..., Any]) -> tuple[None, ...]:
    """None for each argument beyond the two that every metric gets, where it has no default."""
    signature = attempt(lambda: inspect.signature(metric), lambda error: None)
    parameters = signature.parameters.values() if signature is not None else ()
    required = [each for each in parameters if each.default is each.empty and each.kind in _POSITIONAL]
    return (None,) * max(0, len(required) - _GIVEN)

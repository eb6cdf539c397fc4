"""What an evaluation says of the trace of a row: the score as feedback, and what was expected."""

import functools
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Assessment, AssessmentSource, Expectation, Feedback

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.seams.optimizers import wrapped
from mlflow_dspy_plugin.tracking.plain_values import for_traces, number, plain, text

_LONGEST_RATIONALE = 10_000


def metric_name(metric: Any) -> str | None:
    """What a metric is called: a function, a partial of one, or an object of a class."""
    if metric is None:
        return None
    metric = wrapped(metric)
    while isinstance(metric, functools.partial):
        metric = metric.func
    return getattr(metric, "__name__", None) or type(metric).__name__


def assessments_of(name: str, score: Any, error: BaseException | None, expected: Mapping[str, Any]) -> list[Assessment]:
    """Feedback and expectations for the trace of one row.

    Args:
        name: That of the metric.
        score: What it gave: a number, or a prediction with `score` and `feedback`.
        error: What the row raised.
        expected: The fields of the example that are no inputs.
    """
    source = AssessmentSource(source_type="CODE", source_id=name)
    value = None if error is not None else value_of(score)
    if error is None and value is None:
        error = ValueError("The metric gave no score.")
    if error is not None:
        told: list[Assessment] = [Feedback(name=name, error=_error(error), source=source)]
    else:
        told = [Feedback(name=name, value=value, rationale=feedback_of(score), source=source)]
    human = AssessmentSource(source_type="HUMAN", source_id=names.SOURCE_DATASET)
    fields = for_traces({field: value for field, value in expected.items() if value is not None})
    return told + [Expectation(name=field, value=value, source=human) for field, value in fields.items()]


def value_of(score: Any) -> Any:
    """A score as a plain value: a number, True or False, or a text."""
    inner = getattr(score, "score", None)
    found = score if inner is None or callable(inner) else inner
    # A number that is none has no place in a store.
    return number(found) if isinstance(found, float) else plain(found)


def feedback_of(score: Any) -> str | None:
    """The words that a metric gave beside its score."""
    words = getattr(score, "feedback", None)
    return for_traces(words)[:_LONGEST_RATIONALE] if isinstance(words, str) else None


def _error(error: BaseException) -> Exception:
    """An exception with the class, and what may be told of the message: MLflow writes both."""
    told = for_traces(text(error))
    return type(type(error).__name__, (Exception,), {})(told)

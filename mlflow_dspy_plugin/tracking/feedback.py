"""What an evaluation says of the trace of a row: the score as feedback, and what was expected."""

import functools
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Assessment, AssessmentSource, Expectation, Feedback

from mlflow_dspy_plugin.seams.optimizers import wrapped
from mlflow_dspy_plugin.tracking.plain_values import plain, text

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
    if error is not None:
        told: list[Assessment] = [Feedback(name=name, error=_error(error), source=source)]
    else:
        told = [Feedback(name=name, value=value_of(score), rationale=feedback_of(score), source=source)]
    human = AssessmentSource(source_type="HUMAN", source_id="dataset")
    return told + [Expectation(name=field, value=plain(value), source=human) for field, value in expected.items()]


def value_of(score: Any) -> Any:
    """A score as a plain value: a number, True or False, or a text."""
    inner = getattr(score, "score", None)
    return plain(score if inner is None or callable(inner) else inner)


def feedback_of(score: Any) -> str | None:
    """The words that a metric gave beside its score."""
    words = getattr(score, "feedback", None)
    return text(words)[:_LONGEST_RATIONALE] if isinstance(words, str) else None


def _error(error: BaseException) -> Exception:
    told = text(str(error))
    # MLflow writes the class and the message of it.
    return error if isinstance(error, Exception) and told == str(error) else RuntimeError(told)

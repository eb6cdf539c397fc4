"""An MLflow scorer or judge as a DSPy metric."""

import inspect
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import dspy
import mlflow
from mlflow.entities import Feedback, Trace
from mlflow.genai.judges.base import Judge
from mlflow.genai.scorers import Scorer

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.delivery.holds import HOLD
from mlflow_dspy_plugin.errors import ScoringError
from mlflow_dspy_plugin.genai.scored_items import failure, item_of
from mlflow_dspy_plugin.seams.handed_down import inherited
from mlflow_dspy_plugin.seams.mlflow import flush_traces
from mlflow_dspy_plugin.tracing.predictions import trace_id_of
from mlflow_dspy_plugin.tracking.plain_values import number

# What judges say in words, as numbers; another scale is given as `score`.
_SCORES = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "pass": 1.0, "fail": 0.0}
Score = Callable[[Any], float] | Mapping[Any, float]


class Verdict(dspy.Prediction):
    """A score with feedback, as GEPA and SIMBA read it; a number for all that add, compare or test scores."""

    def __bool__(self) -> bool:
        # Else it would be true for having fields, and every demo a good one.
        return bool(self.score)


def metric(
    scorer: Scorer, name: str | None = None, score: Score | None = None, expectations: Mapping[str, str] | None = None
) -> Callable[..., Verdict]:
    """Make a DSPy metric of an MLflow scorer or judge, for `dspy.Evaluate` and every optimizer.

    The scorer gets, as from `mlflow.genai.evaluate`: the example's inputs, its other fields as expectations, and the
    prediction's fields as outputs, all as plain values. Its rationale is the feedback that GEPA reflects on.

    Args:
        scorer: A scorer of MLflow's or yours: `make_judge(...)`, `Correctness()`, a function under `@scorer`.
        name: What the metric is called; by default as the scorer is.
        score: Makes a number of the scorer's value: a function, or a dict. By default numbers are taken as they are,
            True, "yes" and "pass" as 1, False, "no" and "fail" as 0.
        expectations: Other names of fields of the examples: `{"expected_response": "answer"}` for `Correctness()`.

    Returns:
        A function of (example, prediction, trace, pred_name, pred_trace) that returns a `dspy.Prediction` with `score`
        and `feedback`, or raises a ScoringError that names the example: `dspy.Evaluate` counts it.

    Raises:
        ScoringError: If what is given is no scorer, or one of whole sessions.
    """
    if not isinstance(scorer, Scorer):
        raise ScoringError(f"metric() got a {type(scorer).__name__}. Give an MLflow scorer or judge.")
    if getattr(scorer, "is_session_level_scorer", False):
        raise ScoringError(f"The scorer {scorer.name} is for sessions, and a metric for one answer.")
    asked = _Asked(scorer, score, expectations or {})

    def judged(example, prediction, trace=None, pred_name=None, pred_trace=None):
        return asked.verdict(example, prediction)

    judged.__name__ = judged.__qualname__ = name or scorer.name
    judged.__doc__ = f"What the MLflow scorer {scorer.name} says of a prediction."
    return judged


class _Asked:
    """A scorer that is asked of one prediction at a time."""

    def __init__(self, scorer: Scorer, score: Score | None, expectations: Mapping[str, str]) -> None:
        self._scorer, self._score, self._expectations = scorer, score, expectations
        self._what = f"The scorer {scorer.name}"

    def verdict(self, example: Any, prediction: Any) -> Verdict:
        """The score and the feedback of a prediction."""
        item = item_of(example, prediction)

        def refuse(error: BaseException) -> Any:
            raise failure(self._what, error, item["inputs"]) from error

        return attempt(lambda: self._verdict(item, prediction), refuse)

    def _verdict(self, item: dict[str, Any], prediction: Any) -> Verdict:
        item["expectations"] = {**item["expectations"], **self._renamed(item["expectations"])}
        if _wants_trace(self._scorer):
            item["trace"] = _trace_of(prediction)
        said = self._scorer.run(**item)
        several = said if isinstance(said, list) else [said]
        scores = [self._number(each) for each in several]
        if not scores:
            raise ScoringError("It said nothing.")
        return Verdict(score=statistics.fmean(scores), feedback=_words(several))

    def _renamed(self, expected: Mapping[str, Any]) -> dict[str, Any]:
        if missing := sorted(set(self._expectations.values()) - set(expected)):
            raise ScoringError(f"The example has no {', '.join(missing)} beside its inputs.")
        return {name: expected[field] for name, field in self._expectations.items()}

    def _number(self, said: Any) -> float:
        if isinstance(said, Feedback) and said.error is not None:
            raise ScoringError(said.error.error_message or said.error.error_code)
        value = said.value if isinstance(said, Feedback) else said
        found = number(self._scaled(value))
        if found is None:
            raise ScoringError(f"It said {value!r}, which is no number. Give metric(..., score=...) to make one of it.")
        return found

    def _scaled(self, value: Any) -> Any:
        if callable(self._score):
            return self._score(value)
        if self._score is not None:
            return self._score.get(value)
        return _SCORES.get(value.strip().lower(), value) if isinstance(value, str) else value


def _words(said: list[Any]) -> str | None:
    """The rationales; with the names of the judgements where there are several."""
    told = [(each.name, each.rationale) for each in said if isinstance(each, Feedback) and each.rationale]
    if len(said) == 1:
        return told[0][1] if told else None
    return "\n".join(f"{name}: {rationale}" for name, rationale in told) or None


def _wants_trace(scorer: Scorer) -> bool:
    """Whether a scorer can say nothing without a trace."""
    if isinstance(scorer, Judge) and any(field.name == "trace" for field in scorer.get_input_fields()):
        return True
    taken = inspect.signature(scorer.__call__).parameters.get("trace")
    return taken is not None and taken.default is taken.empty


def _trace_of(prediction: Any) -> Trace:
    trace_id = trace_id_of(prediction)
    trace = _found(trace_id) if trace_id is not None else None
    if trace is None:
        raise ScoringError("It needs the trace of the answer, and there is none. Call mlflow.dspy.autolog() first.")
    return trace


def _found(trace_id: str) -> Trace | None:
    # That of a row under way waits for the row's score.
    holding = inherited(HOLD)
    if holding is not None and (held := holding.find(trace_id)) is not None:
        return held
    flush_traces()
    return mlflow.get_trace(trace_id)

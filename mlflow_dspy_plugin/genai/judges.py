"""A DSPy program as an MLflow judge."""

import json
from collections.abc import Mapping
from typing import Any

import dspy
from mlflow.entities import AssessmentSource, Feedback
from mlflow.genai.scorers import Scorer
from pydantic import Field, PrivateAttr

from mlflow_dspy_plugin.boundary import attempt
from mlflow_dspy_plugin.errors import ScoringError
from mlflow_dspy_plugin.genai.expected_names import OF_MLFLOW
from mlflow_dspy_plugin.genai.scored_items import NO_OUTPUT, failure
from mlflow_dspy_plugin.genai.scorers import failed
from mlflow_dspy_plugin.programs.fields import Fields, fields_of
from mlflow_dspy_plugin.serving.calls import call
from mlflow_dspy_plugin.serving.outputs import plain
from mlflow_dspy_plugin.tracking.artifacts import state_of

_SOURCE = "LLM_JUDGE"
# What programs call their reasons, the best first.
_REASONS = ("rationale", "feedback", "explanation", "reasoning")
_EXPECTED = "expected_"


def judge(
    program: dspy.Module,
    name: str,
    value: str | None = None,
    rationale: str | None = None,
    aggregations: list[Any] | None = None,
) -> Scorer:
    """Make an MLflow scorer of a DSPy program that judges, for `mlflow.genai.evaluate(..., scorers=[...])`.

    Each input of the program is looked up in the item, by its name: `inputs`, `outputs` and `expectations` are the
    whole of them, as JSON where the field is a text; else it is a field of the inputs, or else of the outputs;
    `expected_answer` is the expectation `answer`, which is never taken for an output. Expectations that are called
    `expected_...` already, or as MLflow's own scorers look for them (`guidelines`, `ground_truth`), have their own
    names. An output that is a bare value is called as the only other expectation is. By `mlflow.dspy.metric` it is a
    metric too, and any optimizer of DSPy aligns the program.

    Args:
        program: The program, such as `dspy.ChainOfThought("question, answer -> correct: bool")`. It is called under the
            settings of the process; give it a language model of its own by `program.set_lm(...)`.
        name: What its judgement is called in MLflow.
        value: Its output that is the judgement; by default the only one that is no reason.
        rationale: Its output that is the reason; by default `rationale`, `feedback`, `explanation` or `reasoning`.
        aggregations: How judgements are made one metric of the run, as MLflow takes it; the mean by default.

    Returns:
        The scorer; one that cannot judge an item gives an error for that item alone.

    Raises:
        ScoringError: If what is given is no program.
    """
    if not isinstance(program, dspy.Module):
        raise ScoringError(f"judge() got a {type(program).__name__}. Give a DSPy program.")
    return ProgramJudge(program, value, rationale, name=name, aggregations=aggregations)


class ProgramJudge(Scorer):
    """Asks a DSPy program.

    Args:
        program: The program.
        value: Its output that is the judgement, if told.
        rationale: Its output that is the reason, if told.
        fields: Those of MLflow's `Scorer`.

    Attributes:
        definition: The state of the program, as JSON; see `MetricScorer`.
    """

    definition: str | None = Field(default=None, repr=False)

    _program: Any = PrivateAttr()
    _takes: Fields = PrivateAttr()
    _value: str | None = PrivateAttr()
    _rationale: str | None = PrivateAttr()

    def __init__(self, program: dspy.Module, value: str | None, rationale: str | None, **fields: Any) -> None:
        super().__init__(definition=json.dumps(state_of(program)), **fields)
        self._program, self._takes = program, fields_of(program)
        self._value, self._rationale = value, rationale

    def __call__(self, *, inputs: Any = None, outputs: Any = None, expectations: Any = None) -> Feedback:
        """Judge one item; see `MetricScorer`."""
        item = {"inputs": plain(inputs), "outputs": plain(outputs), "expectations": plain(expectations)}
        return attempt(
            lambda: self._judged(item),
            lambda error: failed(self.name, failure(f"The judge {self.name}", error, inputs), _SOURCE),
        )

    def _judged(self, item: Mapping[str, Any]) -> Feedback:
        if item["outputs"] is None:
            raise ScoringError(NO_OUTPUT)
        answer = call(self._program, (), self._arguments(item))
        given = dict(plain(answer)) if isinstance(answer, (dspy.Example, Mapping)) else {"value": plain(answer)}
        reason = self._rationale or next((each for each in _REASONS if each in given), None)
        value = self._value or _only([name for name in given if name != reason], given)
        if missing := [each for each in (value, reason) if each is not None and each not in given]:
            raise ScoringError(f"It has no output {', '.join(missing)}, only {list(given)}.")
        source = AssessmentSource(source_type=_SOURCE, source_id=type(self._program).__name__)
        words = None if reason is None or given[reason] is None else str(given[reason])
        return Feedback(name=self.name, value=given[value], rationale=words, source=source)

    def _arguments(self, item: Mapping[str, Any]) -> dict[str, Any]:
        if self._takes.inputs is None:
            return dict(item)
        known = _by_name(item)
        found = {name: _fitting(known[name], type_) for name, type_ in self._takes.inputs.items() if name in known}
        if missing := sorted(self._takes.required - set(found)):
            raise ScoringError(f"It takes {', '.join(missing)}, and the item has {sorted(known)}.")
        return found


def _by_name(item: Mapping[str, Any]) -> dict[str, Any]:
    """All that an item has, by the names under which a program may ask for it."""
    inputs, expected = (_fields(item[part]) for part in ("inputs", "expectations"))
    prefixed = {f"{_EXPECTED}{name}": value for name, value in expected.items()}
    # Others would stand in for an output that is not there, and be found right.
    own = {name: value for name, value in expected.items() if not _may_be_an_output(name)}
    # What stands last wins.
    return {**prefixed, **own, **_named(item["outputs"], expected), **inputs, **item}


def _named(outputs: Any, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs by name: a bare value has that of the only expectation that may be one of an output."""
    names = [name for name in expected if _may_be_an_output(name)]
    return {names[0]: outputs} if len(names) == 1 and not isinstance(outputs, dict) else _fields(outputs)


def _may_be_an_output(name: str) -> bool:
    return name not in OF_MLFLOW and not str(name).startswith(_EXPECTED)


def _fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _fitting(value: Any, type_: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if type_ is str and not isinstance(value, str) else value


def _only(names: list[str], given: Mapping[str, Any]) -> str:
    if len(names) != 1:
        raise ScoringError(f"Which of its outputs {list(given)} is the judgement? Name it: judge(..., value=...).")
    return names[0]

"""What people, and the data that they made, say of the outputs of a call: what is right instead, or that they are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Assessment, AssessmentSourceType, Expectation, Feedback
from mlflow.tracing.constant import AssessmentMetadataKey

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.genai.expected_names import OF_THE_ONE_OUTPUT

# What a program has thought on the way; where its answer was wrong, this was too.
THOUGHTS = ("reasoning", "rationale", "trajectory")
_GOOD = {"yes", "true", "correct", "right", "good", "pass", "positive", "thumbs_up", "thumbs up", "👍"}
_BAD = {"no", "false", "incorrect", "wrong", "bad", "fail", "negative", "thumbs_down", "thumbs down", "👎"}


@dataclass(frozen=True)
class Verdict:
    """What is said of one call.

    Attributes:
        corrections: What outputs should have been, by the name of the field.
        is_good: Whether somebody has said that the outputs are right, or wrong; None if nobody has.
        time: When the last of it was said, in ms; 0 for nothing.
    """

    corrections: Mapping[str, Any] = field(default_factory=dict)
    is_good: bool | None = None
    time: int = 0

    @property
    def is_judged(self) -> bool:
        """Whether anything is said."""
        return bool(self.corrections) or self.is_good is not None

    def labels(self, outputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The outputs as they should have been; None if that is not known."""
        if not self.corrections:
            return dict(outputs) if self.is_good is not False else None
        corrected = {**outputs, **self.corrections}
        if all(name in outputs and outputs[name] == value for name, value in self.corrections.items()):
            return corrected
        return {name: value for name, value in corrected.items() if name in self.corrections or name not in THOUGHTS}


def verdict_on(outputs: Mapping[str, Any], assessments: Iterable[Assessment], fields: Mapping[str, str]) -> Verdict:
    """What assessments say of the outputs of a call.

    An expectation, whoever has made it, and the feedback of a person are corrections where they bear the name of an
    output; the latest of a name counts. Other feedback of people is a verdict where it is yes or no, in MLflow's words
    or as True or False; one no outweighs all else. What judges and code say is feedback, and no correction.

    Args:
        outputs: The outputs; none, if the call has failed.
        assessments: Those of the call.
        fields: The names of assessments that speak of a field of another name, with that name.
    """
    latest = {each.name: each for each in sorted(assessments, key=_time_of) if _counts(each)}
    corrections: dict[str, Any] = {}
    said: list[bool] = []
    for name, each in latest.items():
        found = _corrections_of(fields.get(name, name), each, outputs)
        corrections |= found
        if not found and isinstance(each, Feedback) and (good := _is_good(each.value)) is not None:
            said.append(good)
    is_good = all(said) if said else None
    spoke = [_time_of(each) for each in latest.values()] if corrections or said else []
    return Verdict(corrections, is_good, max(spoke, default=0))


def is_of_a_dataset(assessment: Assessment) -> bool:
    """Whether an evaluation has written down what its dataset expects, and nobody has spoken since."""
    if not isinstance(assessment, Expectation) or assessment.overrides:
        return False
    by_mlflow = AssessmentMetadataKey.SOURCE_RUN_ID in (assessment.metadata or {})
    return by_mlflow or assessment.source.source_id == names.SOURCE_DATASET


def _counts(assessment: Assessment) -> bool:
    """Whether it is an expectation, or said by a person, and not taken back."""
    if assessment.valid is False or assessment.error is not None:
        return False
    by_a_person = assessment.source.source_type == AssessmentSourceType.HUMAN
    return isinstance(assessment, Expectation) or isinstance(assessment, Feedback) and by_a_person


def _time_of(assessment: Assessment) -> int:
    return assessment.last_update_time_ms or assessment.create_time_ms or 0


def _corrections_of(name: str, assessment: Assessment, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """What an assessment says that outputs should be, by field."""
    value = assessment.value
    is_expected = isinstance(assessment, Expectation)
    answers = [each for each in outputs if each not in THOUGHTS]
    if name in outputs or is_expected and not outputs and name not in OF_THE_ONE_OUTPUT:
        # A thumb on a field that is not itself yes or no says whether it is right, and not what is.
        is_thumb = not is_expected and _is_good(value) is not None and type(outputs[name]) is not type(value)
        return {} if is_thumb else {name: value}
    if name in OF_THE_ONE_OUTPUT and len(answers) == 1:
        return {answers[0]: value}
    if is_expected and isinstance(value, Mapping) and value and value.keys() <= outputs.keys():
        return dict(value)
    return {}


def _is_good(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else None
    return True if word in _GOOD else False if word in _BAD else None

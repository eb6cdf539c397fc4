"""What people, and the data that they made, say of the outputs of a call: what is right instead, or that they are."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import Assessment, AssessmentSourceType, Expectation, Feedback
from mlflow.tracing.constant import AssessmentMetadataKey

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.genai.declared import Types, declared
from mlflow_dspy_plugin.genai.expected_names import OF_MLFLOW, OF_THE_ONE_OUTPUT

# What a program has thought on the way; where its answer was wrong, this was too.
THOUGHTS = ("reasoning", "rationale", "trajectory")
# Classes of texts more often than what people say of an output.
_CLASSES = ("positive", "negative")
# What says that something is right, and what that it is not.
_PAIRS = (
    (True, False),
    ("yes", "no"),
    ("true", "false"),
    ("correct", "incorrect"),
    ("right", "wrong"),
    ("good", "bad"),
    ("pass", "fail"),
    _CLASSES,
    ("thumbs_up", "thumbs_down"),
    ("thumbs up", "thumbs down"),
    ("👍", "👎"),
)
# By type, too: 1 equals True.
_GOOD = {(type(each), each): each is pair[0] for pair in _PAIRS for each in pair}
_PAIR = {(type(each), each): pair for pair in _PAIRS for each in pair}
# A type that takes this takes any text.
_ANY_TEXT = "any text"


@dataclass(frozen=True)
class Answer:
    """What a call has given.

    Attributes:
        values: Its outputs; none of a call that has failed.
        names: The names of what it gives, or would have given; None where they are not known.
        types: What its fields are declared as, as far as that is known.
    """

    values: Mapping[str, Any]
    names: frozenset[str] | None
    types: Types


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


def verdict_on(answer: Answer, assessments: Iterable[Assessment], fields: Mapping[str, str]) -> Verdict:
    """What assessments say of the outputs of a call.

    An expectation, whoever has made it, and the feedback of a person are corrections where they bear the name of an
    output. Other feedback of people is a verdict where it is yes or no, in MLflow's words or as True or False. The
    latest of a name counts, whoever has said it; a no under one name outweighs a yes under another. What judges and
    code say is feedback, and no correction.

    Args:
        answer: The outputs.
        assessments: Those of the call.
        fields: The names of assessments that speak of a field of another name, with that name.
    """
    latest = {each.name: each for each in sorted(assessments, key=_time_of) if _counts(each)}
    corrections: dict[str, Any] = {}
    said: list[bool] = []
    for name, each in latest.items():
        found = _corrections_of(fields.get(name, name), each, answer)
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


def _corrections_of(name: str, assessment: Assessment, answer: Answer) -> dict[str, Any]:
    """What an assessment says that outputs should be, by field."""
    value, is_expected = assessment.value, isinstance(assessment, Expectation)
    if answer.names is None:
        return {name: value} if is_expected and name not in OF_MLFLOW else {}
    if name in OF_THE_ONE_OUTPUT and name not in answer.names:
        outputs = [each for each in answer.names if each not in THOUGHTS]
        name = outputs[0] if len(outputs) == 1 else name
    if name in answer.names:
        return {name: value} if is_expected or not _is_thumb(value, name, answer) else {}
    if is_expected and isinstance(value, Mapping) and value and value.keys() <= answer.names:
        return dict(value)
    return {}


def _is_thumb(value: Any, name: str, answer: Answer) -> bool:
    """Whether a person says that a field is right or wrong, and not what is right."""
    word = _word(value)
    if _PAIR.get(word) in (None, _CLASSES):
        return False
    given, type_ = answer.values.get(name), answer.types.get(name)
    # To "yes" the correction is "no"; to "Paris" it is that this is wrong, unless the field may be "no".
    return _PAIR.get(_word(given)) is not _PAIR[word] and not _is_one_of(value, type_)


def _is_one_of(value: Any, type_: Any) -> bool:
    """Whether a type takes few values, and this is one of them."""
    made, fits = declared(value, type_)
    is_same = type(made) is type(value) and made == value
    return fits and (is_same or isinstance(made, enum.Enum)) and not declared(_ANY_TEXT, type_)[1]


def _is_good(value: Any) -> bool | None:
    return _GOOD.get(_word(value))


def _word(value: Any) -> tuple[type, Any]:
    """A value as the words of `_PAIRS` are looked up."""
    if isinstance(value, str):
        return str, value.strip().lower()
    return type(value), value if isinstance(value, bool) else None

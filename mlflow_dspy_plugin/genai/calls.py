"""The calls in a trace that examples can be made of: of the whole program, or of one predictor."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dspy
from mlflow.entities import Assessment, Expectation, Span, SpanType, Trace

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import DatasetError
from mlflow_dspy_plugin.genai.expected_names import OF_THE_ONE_OUTPUT
from mlflow_dspy_plugin.genai.verdicts import THOUGHTS
from mlflow_dspy_plugin.redaction import redact_text
from mlflow_dspy_plugin.seams.programs import is_signature

_SIGNATURE, _INSTRUCTIONS = "signature", "instructions"
# What `dspy.ChainOfThought` adds to a signature.
_ADDED = "reasoning"
_FORWARD = re.compile(r"\w+\.forward(_\d+)?")
# How `tracing.long_values` writes a long text: how it begins, and how long it is.
_SHORTENED = re.compile(r"(.*)\.\.\. \[([\d,]+) characters[:,].*\]", re.DOTALL)

Fields = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class Predictor:
    """What the calls of a predictor are known by.

    Attributes:
        fields: Its inputs and outputs.
        instructions: What it was told, which tells predictors of the same fields apart; None to take all of them.
    """

    fields: Fields
    instructions: str | None


@dataclass(frozen=True)
class Call:
    """A call of a program or predictor.

    Attributes:
        trace: The trace that it is in.
        span: Its span.
        assessments: What was said of it.
        fields: The inputs and outputs that it is known to have; None of a module of the user's.
    """

    trace: Trace
    span: Span
    assessments: tuple[Assessment, ...]
    fields: Fields | None

    @property
    def inputs(self) -> Mapping[str, Any] | None:
        """The inputs by name; None where they have none."""
        given = self.span.inputs
        known = self.fields
        if not isinstance(given, Mapping) or _are_positional(given.get("args"), known):
            return None
        # A predictor is given settings, too.
        return {name: value for name, value in given.items() if known is None or name in known[0]}

    @property
    def outputs(self) -> Mapping[str, Any] | None:
        """The outputs by name, none of a call that failed; None where they have no names."""
        outputs = self.span.outputs
        return {} if outputs is None else outputs if isinstance(outputs, Mapping) else None


def _are_positional(args: Any, known: Fields | None) -> bool:
    """Whether these are arguments without names, and not a field that is called so."""
    return bool(args) and isinstance(args, list) and (known is None or "args" not in known[0])


def calls_of(trace: Trace, predictor: Predictor | None, renamed: Mapping[str, str]) -> list[Call]:
    """The calls in a trace that examples are asked of; none in a trace that has no program of DSPy's.

    Args:
        trace: The trace, with its spans.
        predictor: The predictor; None for the whole program.
        renamed: The names of assessments that speak of a field of another name, with that name.
    """
    spans = {span.span_id: span for span in trace.data.spans}
    found = _programs(spans) if predictor is None else _predictors(spans, predictor)
    # In MLflow's UI, whoever looks at a trace looks at its first span.
    whole = {None, *(span.span_id for span in spans.values() if span.parent_id not in spans)}
    of_trace = [each for each in trace.info.assessments or [] if each.span_id in whole]
    if predictor is not None:
        of_trace = _of_predictor(of_trace, predictor.fields, found, spans, renamed)
    calls = []
    for span in found:
        own = {span.span_id} if predictor is None else _family(span, spans, predictor.fields)
        of_span = [each for each in trace.info.assessments or [] if each.span_id in own]
        # What is said of a trace with several programs is said of none of them.
        said = (*of_span, *(of_trace if len(found) == 1 else ()))
        calls.append(Call(trace, span, said, _own_fields_of(span) if predictor is None else predictor.fields))
    return calls


def known_by(predictor: Any, signature: type[dspy.Signature]) -> Predictor:
    """What the calls of a predictor are known by.

    Args:
        predictor: What the user has given.
        signature: Its signature.
    """
    fields = frozenset(signature.input_fields), frozenset(signature.output_fields) - {_ADDED}
    # The text of a signature says nothing but its fields.
    return Predictor(fields, None if isinstance(predictor, str) else redact_text(signature.instructions))


def signature_of_predictor(predictor: Any) -> type[dspy.Signature]:
    """The signature of a predictor.

    Args:
        predictor: A predictor or module with a signature, a signature, or its text.

    Raises:
        DatasetError: If it is none of them.
    """
    held = getattr(predictor, "predict", predictor) if isinstance(predictor, dspy.Module) else predictor
    signature = getattr(held, "signature", None) if isinstance(held, dspy.Module) else held
    try:
        made = dspy.Signature(signature) if isinstance(signature, str) else signature
    except Exception as error:
        raise _unknown_predictor(predictor) from error
    if not is_signature(made):
        raise _unknown_predictor(predictor)
    return made


def _unknown_predictor(predictor: Any) -> DatasetError:
    return DatasetError(
        f"A predictor is known by its signature, and {predictor!r:.200} has none. Give one of program.predictors(), a "
        "signature, or its text: 'question -> answer'."
    )


# -- finding spans --------------------------------------------------------------------------------


def _programs(spans: Mapping[str, Span]) -> list[Span]:
    """The topmost calls of programs, which code of the user's may be around."""
    marked = [span for span in spans.values() if names.SPAN_GRAPH in span.attributes]
    if not marked and any(_fields_of(span) for span in spans.values()):
        # MLflow's own flavor makes no graphs.
        marked = [span for span in spans.values() if _FORWARD.fullmatch(span.name)]
    ids = {span.span_id for span in marked}
    return [span for span in marked if not any(above.span_id in ids for above in _above(span, spans))]


def _predictors(spans: Mapping[str, Span], predictor: Predictor) -> list[Span]:
    """The calls of a predictor, each once: a module around a predictor has a span with the same signature."""
    found = {span.span_id: span for span in spans.values() if _fields_of(span) == predictor.fields}
    topmost = [span for span in found.values() if span.parent_id not in found]
    told = [_instructions_of(span) for span in topmost]
    # Where one predictor alone has these fields, it may have been told something else since.
    if predictor.instructions is None or len(set(told)) < 2:
        return topmost
    ours = {predictor.instructions, _shortened_like(predictor.instructions, told)}
    return [span for span, instructions in zip(topmost, told, strict=True) if instructions in ours]


def _of_predictor(
    said: list[Assessment], fields: Fields, found: list[Span], spans: Mapping[str, Span], renamed: Mapping[str, str]
) -> list[Assessment]:
    """What is said of a trace and holds for a predictor too.

    That is nothing of fields that another predictor has as well, and of the one output of the program only what is
    said where the predictor gives just that.
    """
    own = {id_ for span in found for id_ in _family(span, spans, fields)}
    others = [known[1] for span in spans.values() if span.span_id not in own and (known := _fields_of(span))]
    shared = fields[1] & frozenset().union(*others)
    gives_all = not shared and {_outputs_of(span) for span in _programs(spans)} == {fields[1] - set(THOUGHTS)}
    kept = []
    for each in said:
        name = renamed.get(each.name, each.name)
        of_one = name in OF_THE_ONE_OUTPUT and name not in fields[1]
        in_dict = each.value.keys() if isinstance(each, Expectation) and isinstance(each.value, Mapping) else ()
        if not shared & {name, *in_dict} and (gives_all or not of_one):
            kept.append(each)
    return kept


def _outputs_of(span: Span) -> frozenset[str] | None:
    """The names of what a program gives, but for its thoughts; None where they are not known."""
    known = _own_fields_of(span)
    given = span.outputs if known is None else known[1]
    return frozenset(given) - set(THOUGHTS) if isinstance(given, (Mapping, frozenset)) else None


def _family(span: Span, spans: Mapping[str, Span], fields: Fields) -> set[str]:
    """The ids of a span and of the spans inside that stand for the same call."""
    same = [each for each in spans.values() if _fields_of(each) == fields]
    return {each.span_id for each in same if each is span or any(above is span for above in _above(each, spans))}


def _above(span: Span, spans: Mapping[str, Span]) -> Iterator[Span]:
    seen = {span.span_id}
    while (parent := spans.get(span.parent_id)) is not None and parent.span_id not in seen:
        seen.add(parent.span_id)
        yield parent
        span = parent


def _fields_of(span: Span) -> Fields | None:
    """The fields of the signature that a span tells; None if it tells none."""
    told = span.attributes.get(_SIGNATURE)
    if not isinstance(told, str) or " -> " not in told:
        return None
    inputs, outputs = ({name.strip() for name in part.split(",")} - {""} for part in told.split(" -> ", 1))
    return frozenset(inputs), frozenset(outputs) - {_ADDED}


def _own_fields_of(span: Span) -> Fields | None:
    """The fields of the program that a span is of; a module of the user's tells those of a predictor inside."""
    of_dspy = span.span_type == SpanType.LLM or hasattr(dspy, span.name.partition(".")[0])
    return _fields_of(span) if of_dspy else None


def _instructions_of(span: Span) -> Any:
    """What a span tells of the instructions: them, or the beginning and the length of long ones."""
    told = span.attributes.get(_INSTRUCTIONS)
    short = _SHORTENED.fullmatch(told) if isinstance(told, str) else None
    return told if short is None else short.groups()


def _shortened_like(instructions: str, told: list[Any]) -> Any:
    """What spans tell of these instructions where they are too long; None if none of them does."""
    length = f"{len(instructions):,}"
    short = [each for each in told if isinstance(each, tuple)]
    return next((each for each in short if instructions.startswith(each[0]) and each[1] == length), None)

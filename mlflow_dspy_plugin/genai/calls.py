"""The calls in a trace that examples can be made of: of the whole program, or of one predictor."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dspy
from mlflow.entities import Assessment, Span, Trace

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import DatasetError
from mlflow_dspy_plugin.seams.programs import is_signature

_SIGNATURE = "signature"
# What `dspy.ChainOfThought` adds to a signature.
_ADDED = "reasoning"
_FORWARD = re.compile(r"\w+\.forward(_\d+)?")

Fields = tuple[frozenset[str], frozenset[str]]


@dataclass(frozen=True)
class Call:
    """A call of a program or predictor.

    Attributes:
        trace: The trace that it is in.
        span: Its span.
        assessments: What was said of it.
    """

    trace: Trace
    span: Span
    assessments: tuple[Assessment, ...]

    @property
    def inputs(self) -> Mapping[str, Any] | None:
        """The inputs by name; None where they have none."""
        given = self.span.inputs
        known = _fields_of(self.span)
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


def calls_of(trace: Trace, predictor: Fields | None) -> list[Call]:
    """The calls in a trace that examples are asked of; none in a trace that has no program of DSPy's.

    Args:
        trace: The trace, with its spans.
        predictor: The fields of the predictor; None for the whole program.
    """
    spans = {span.span_id: span for span in trace.data.spans}
    found = _programs(spans) if predictor is None else _predictors(spans, predictor)
    # In MLflow's UI, whoever looks at a trace looks at its first span.
    whole = {None, *(span.span_id for span in spans.values() if span.parent_id not in spans)}
    of_trace = [each for each in trace.info.assessments or [] if each.span_id in whole]
    if predictor is not None:
        of_trace = _of_predictors(of_trace, found, spans)
    calls = []
    for span in found:
        own = _family(span, spans, predictor)
        of_span = [each for each in trace.info.assessments or [] if each.span_id in own]
        # What is said of a trace with several programs is said of none of them.
        calls.append(Call(trace, span, (*of_span, *(of_trace if len(found) == 1 else ()))))
    return calls


def fields_of_signature(signature: type[dspy.Signature]) -> Fields:
    """The fields by which the calls of a predictor are known."""
    return frozenset(signature.input_fields), frozenset(signature.output_fields) - {_ADDED}


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


def _predictors(spans: Mapping[str, Span], predictor: Fields) -> list[Span]:
    """The calls of a predictor, each once: a module around a predictor has a span with the same signature."""
    found = {span.span_id: span for span in spans.values() if _fields_of(span) == predictor}
    return [span for span in found.values() if span.parent_id not in found]


def _of_predictors(said: list[Assessment], found: list[Span], spans: Mapping[str, Span]) -> list[Assessment]:
    """What is said of a trace and holds for a predictor too: not of fields that another one has as well."""
    ours = {each for span in found for each in _fields_of(span)[1]} if found else set()
    own = {id_ for span in found for id_ in _family(span, spans, _fields_of(span))}
    others = [_fields_of(span) for span in spans.values() if span.span_id not in own]
    shared = {name for known in others if known for name in known[1]} & ours
    return [each for each in said if each.name not in shared]


def _family(span: Span, spans: Mapping[str, Span], fields: Fields | None) -> set[str]:
    """The ids of a span and of the spans inside that stand for the same call."""
    if fields is None:
        return {span.span_id}
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

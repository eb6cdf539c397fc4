"""Traces and what was said of them -> examples to optimize with."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import mlflow
from mlflow.entities import Trace

from mlflow_dspy_plugin.errors import DatasetError
from mlflow_dspy_plugin.genai.calls import Call, calls_of, known_by, signature_of_predictor
from mlflow_dspy_plugin.genai.declared import Types, declared, types_of_program, types_of_signature
from mlflow_dspy_plugin.genai.trace_values import NotWhole, restored
from mlflow_dspy_plugin.genai.verdicts import THOUGHTS, Answer, Verdict, is_of_a_dataset, verdict_on
from mlflow_dspy_plugin.programs.fields import fields_of
from mlflow_dspy_plugin.seams.active_run import BY_NAME, experiment
from mlflow_dspy_plugin.seams.mlflow import flush_traces
from mlflow_dspy_plugin.tracking.datasets import Digest

_logger = logging.getLogger("mlflow_dspy_plugin")
_PAGE = 100
_KEY_CHARACTERS = 32
_TRACE_ID = re.compile(r"tr-\w+")


class TraceExamples(list):
    """Examples that were made of traces: a list of `dspy.Example`, ready as a trainset.

    Attributes:
        trace_ids: The trace of each example, in the same order.
        skipped: How many calls gave no example, by the reason: "unjudged", "rejected", "duplicate", "evaluated" (only a
            dataset that the program was evaluated on says what was expected), "no program" (the trace is of another
            framework, or has no such predictor), "no names" (inputs or outputs without names of fields), "other type"
            (a correction does not fit the type of its field), "redacted", "not captured", "shortened", "attachment
            missing".
    """

    def __init__(self, examples: Iterable[dspy.Example] = (), trace_ids: Iterable[str] = ()) -> None:
        super().__init__(examples)
        self.trace_ids = list(trace_ids)
        self.skipped: Counter[str] = Counter()


def examples_from_traces(
    traces: Any = None,
    *,
    predictor: Any = None,
    program: dspy.Module | None = None,
    fields: Mapping[str, str] | None = None,
    unjudged: bool = False,
    evaluated: bool = False,
    experiment_ids: Sequence[str] | None = None,
    max_results: int | None = None,
) -> TraceExamples:
    """Make examples of traces: what went in, and what should have come out.

    The inputs of a call are the inputs of its example. Its labels are the outputs, with what was corrected:

    - an expectation that bears the name of an output (`mlflow.log_expectation(name="answer", value=...)`) is what that
      output should have been, and so is the feedback of a person under that name; `expected_response` and the like
      speak of the only output. The latest counts. The reasoning that has led to a wrong answer is left out;
    - other feedback of people that says yes or no (True, "correct", ...) accepts the outputs as they are, or rejects
      them; under the name of an output, too, unless that is such a word itself ("no" for "yes"), or declared to be one
      of some: give `program` or `predictor` for that. What judges and code say decides nothing.

    Of several calls with the same inputs, the one that was judged last is kept. An answer that was rejected is no
    example, whichever call with these inputs has given it, unless one was accepted later.

    Args:
        traces: A filter string of `mlflow.search_traces`; or traces, their ids, one id, or a table of them; None for
            all of the experiment.
        predictor: One of `program.predictors()`, a signature or its text, to make examples of the calls of that
            predictor; None for the whole program. Where several in a trace have its fields, those with its
            instructions; a text takes them all. What is said of its span counts, and what is said of the trace, but for
            fields that another predictor has too; `expected_response` and the like count where the predictor gives what
            the whole program does.
        program: The program that was traced, where values are to become what its fields are declared as: pydantic
            objects, dates, enums, `dspy.History`. Those of a predictor become so without it. A value stays as the trace
            shows it where that is not known, or the trace shows too little of it.
        fields: The names of assessments that speak of an output of another name, with that name.
        unjudged: Whether calls that nobody has judged are taken too, with the outputs that they had.
        evaluated: Whether what evaluations have written down as expected counts, too. It comes from their datasets: to
            optimize on it is to learn the test by heart.
        experiment_ids: Where to search; None for the experiment that is active.
        max_results: How many traces are looked at, the newest first; None for all.

    Returns:
        The examples, newest trace first; `skipped` counts the calls that gave none, by the reason.

    Raises:
        DatasetError: If `traces`, `predictor` or `program` is something else.
    """
    signature = None if predictor is None else signature_of_predictor(predictor)
    found = _Found(fields or {}, unjudged, evaluated, _types(program, signature), _gives(program))
    asked = None if signature is None else known_by(predictor, signature)
    for trace in _traces(traces, experiment_ids, max_results):
        calls = calls_of(trace, asked, fields or {})
        if not calls:
            found.skipped["no program"] += 1
        for call in calls:
            found.add(call)
    return found.examples()


def _types(program: Any, signature: type[dspy.Signature] | None) -> Types:
    if program is not None and not isinstance(program, dspy.Module):
        raise DatasetError(f"program is the dspy.Module that was traced, and not a {type(program).__name__}.")
    if signature is not None:
        return types_of_signature(signature)
    return {} if program is None else types_of_program(program)


def _gives(program: dspy.Module | None) -> Iterable[str] | None:
    """The names of what a program gives; None where they are not known."""
    return None if program is None else fields_of(program).outputs


@dataclass(frozen=True)
class _Said:
    """A call of which something was said, or nothing.

    Attributes:
        rank: Whether it was judged, when, and when it was made.
        example: What it is an example of; None if it was rejected.
        trace_id: Its trace.
    """

    rank: tuple[bool, int, int]
    example: dspy.Example | None
    trace_id: str


class _Found:
    """The examples that were found, by their inputs."""

    def __init__(
        self,
        fields: Mapping[str, str],
        unjudged: bool,
        evaluated: bool,
        types: Types,
        gives: Iterable[str] | None,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._fields, self._unjudged, self._evaluated = fields, unjudged, evaluated
        self._types, self._gives = types, gives
        # By the inputs, and by the labels: a no to an answer is a no to it in every call.
        self._said: dict[str, dict[str, _Said]] = {}

    def add(self, call: Call) -> None:
        """Take a call, or count why not."""
        try:
            verdict = self._judged(call)
            inputs, labels, example = self._example(call, verdict)
        except NotWhole as reason:
            self.skipped[str(reason)] += 1
            return
        rank = (verdict.is_judged, verdict.time, call.trace.info.timestamp_ms)
        said = _Said(rank, example, call.trace.info.trace_id)
        answers = self._said.setdefault(_digest(inputs), {})
        key = _digest({name: value for name, value in labels.items() if name not in THOUGHTS})
        before = answers.get(key, said)
        if before is not said:
            self.skipped["duplicate" if before.example is not None and example is not None else "rejected"] += 1
        # Of two that were said at once the first found is the newer.
        answers[key] = max(before, said, key=lambda each: each.rank)

    def examples(self) -> TraceExamples:
        """What was found."""
        kept = []
        for answers in self._said.values():
            right = [each for each in answers.values() if each.example is not None]
            self.skipped += Counter(rejected=len(answers) - len(right), duplicate=max(len(right) - 1, 0))
            kept += [max(right, key=lambda each: each.rank)] if right else []
        # The newest trace first.
        kept.sort(key=lambda each: -each.rank[2])
        made = TraceExamples((each.example for each in kept), (each.trace_id for each in kept))
        made.skipped = self.skipped
        if not made and self.skipped:
            counted = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.most_common())
            _logger.warning("No example could be made of the traces: %s.", counted)
        return made

    def _judged(self, call: Call) -> Verdict:
        if call.outputs is None:
            raise NotWhole("no names")
        said = [each for each in call.assessments if self._evaluated or not is_of_a_dataset(each)]
        gives = call.outputs or (self._gives if call.fields is None else call.fields[1])
        answer = Answer(call.outputs, None if gives is None else frozenset(gives), self._types)
        verdict = verdict_on(answer, said, self._fields)
        if not verdict.is_judged and len(said) < len(call.assessments):
            raise NotWhole("evaluated")
        if verdict.labels(call.outputs) is None:
            return verdict
        if not verdict.corrections and (not call.outputs or not verdict.is_judged and not self._unjudged):
            raise NotWhole("unjudged")
        return verdict

    def _example(self, call: Call, verdict: Verdict) -> tuple[dict[str, Any], dict[str, Any], dspy.Example | None]:
        """The inputs, the labels, and the example of them; no example where the labels were rejected."""
        right = verdict.labels(call.outputs or {})
        inputs = restored(call.inputs, call.trace)
        labels = restored(call.outputs if right is None else right, call.trace)
        # One name for both would make the label an input.
        if not isinstance(inputs, dict) or not inputs or inputs.keys() & labels.keys():
            raise NotWhole("no names")
        if right is None:
            return inputs, labels, None
        made = {name: declared(value, self._types.get(name)) for name, value in {**inputs, **labels}.items()}
        if not all(made[name][1] for name in verdict.corrections):
            raise NotWhole("other type")
        example = dspy.Example({name: value for name, (value, _) in made.items()}).with_inputs(*inputs)
        return inputs, labels, example


def _digest(fields: dict[str, Any]) -> str:
    return Digest([fields]).text(_KEY_CHARACTERS)


# -- the traces -----------------------------------------------------------------------------------


def _traces(traces: Any, experiment_ids: Sequence[str] | None, most: int | None) -> Iterator[Trace]:
    flush_traces()
    if isinstance(traces, str) and _TRACE_ID.fullmatch(traces):
        traces = [traces]
    if traces is None or isinstance(traces, str):
        yield from _searched(traces, experiment_ids, most)
        return
    if hasattr(traces, "columns"):
        traces = list(traces["trace"]) if "trace" in traces.columns else [None]
    if isinstance(traces, Trace) or not isinstance(traces, Iterable):
        raise _no_traces(traces)
    for number, trace in enumerate(traces):
        if most is not None and number >= most:
            return
        yield _trace(trace)


def _searched(filter_string: str | None, experiment_ids: Sequence[str] | None, most: int | None) -> Iterator[Trace]:
    """The traces of a search, page by page: no more of them are in memory at once."""
    client, token, left = mlflow.MlflowClient(), None, most
    places = [experiment_ids] if isinstance(experiment_ids, str) else list(experiment_ids or [_active_experiment()])
    while left is None or left > 0:
        size = _PAGE if left is None else min(left, _PAGE)
        page = client.search_traces(places, filter_string=filter_string, max_results=size, page_token=token)
        yield from page
        token, left = page.token, None if left is None else left - len(page)
        if not token:
            return


def _active_experiment() -> str:
    found = experiment()
    if not found.startswith(BY_NAME):
        return found
    named = mlflow.get_experiment_by_name(found.removeprefix(BY_NAME))
    if named is None:
        raise DatasetError(f"There is no experiment {found.removeprefix(BY_NAME)!r}, and so there are no traces in it.")
    return named.experiment_id


def _trace(trace: Any) -> Trace:
    """A trace, as itself, by its id, or as the JSON that a table has of it."""
    if isinstance(trace, Trace):
        return trace
    if isinstance(trace, str):
        return (
            Trace.from_json(trace) if trace.startswith("{") else mlflow.MlflowClient().get_trace(trace, display=False)
        )
    raise _no_traces(trace)


def _no_traces(given: Any) -> DatasetError:
    return DatasetError(
        f"examples_from_traces takes a filter string, or a list of traces or of their ids, and not a "
        f"{type(given).__name__}."
    )

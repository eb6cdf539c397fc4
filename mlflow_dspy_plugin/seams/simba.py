"""What `dspy.SIMBA` alone knows while it compiles: its buckets, what its strategies add, and every score.

It is told in the thread and context of the compile. SIMBA scores by `dspy.Parallel`, never by `dspy.Evaluate`: there
is no other word of its candidates. Keys are the numbers that SIMBA gives its programs, 0 for the program as it was;
steps count from 0, as in its `trial_logs`.

bucket(step, max_score, max_to_min_gap, max_to_avg_gap)
    Of each example of the minibatch, once it is sampled, in the order in which SIMBA makes candidates of them.
strategy(step, name, added, key, parents)
    Once a strategy has been at the next bucket. `added` has for each predictor that it has changed the "rule" that its
    instructions have got, or the "demos"; it is empty where there was nothing to learn. `parents` has the program
    that it has started from, some of whose demos were dropped before; `key` is the candidate's.
error(exception)
    A strategy has failed; SIMBA goes on to the next bucket.
candidate_scored(program, instructions=None, scores, kind, parents, key, results=None)
    Of each candidate of a step, once all of them are scored on the "minibatch"; and of those that SIMBA chooses from
    at the end, on the whole trainset ("train"), with the key that they had, and no word of parents. `program` is the
    optimizer's own object; `scores` are what the metric has given for each row, and `results` at the end the rows, as
    those of `dspy.Evaluate`: (example, prediction, score).
"""

import contextvars
import functools
import importlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import dspy

from mlflow_dspy_plugin.boundary import attempt, never_raises
from mlflow_dspy_plugin.seams.patch import patch

_MODULE = "dspy.teleprompt.simba"


def watch_simba(tell: Callable[..., None]) -> Callable[[], None]:
    """Call `tell(kind, **facts)` for what every `dspy.SIMBA` finds out; returns the undo."""
    module = importlib.import_module(_MODULE)
    watched: list[tuple[Any, str, Callable]] = [
        (module.SIMBA, "compile", functools.partial(_climbing, tell)),
        (module, "prepare_models_for_resampling", _beginning_step),
        (module, "wrap_program", _noting_program),
        (dspy.Parallel, "forward", _hearing_scores),
    ]
    # A release that has renamed one tells less.
    undo = [patch(owner, name, make) for owner, name, make in watched if hasattr(owner, name)]
    undo.append(_watch_strategies(module.SIMBA))

    def stop() -> None:
        while undo:
            undo.pop()()

    return stop


class _Climb:
    """One compile, step by step."""

    def __init__(self, tell: Callable[..., None], student: Any):
        self._tell = tell
        self._step = -1
        self._samples = 1
        self._stages: Iterator[Callable] = iter(())
        # SIMBA's own runner, and the programs in what it is about to run: by the identity of the functions around them.
        self._runner: Any = None
        self._wrapped: dict[int, tuple[Callable, Any]] = {}
        self._candidates = 0  # SIMBA numbers them when all of a step are scored
        self._made = 0
        self._keys: dict[Any, int] = {_content(student): 0}

    @never_raises
    def begin_step(self, models: list[Any]) -> None:
        self._step += 1
        self._samples = len(models)
        self._made = 0
        self._stages = iter((self._tell_buckets, self._tell_candidates))

    @never_raises
    def note_program(self, function: Callable, program: Any) -> None:
        self._wrapped[id(function)] = function, program

    @never_raises
    def hear(self, runner: Any, pairs: list[tuple[Callable, Any]], outputs: list[Any]) -> None:
        if self._runner is None and pairs and id(pairs[0][0]) in self._wrapped:
            self._runner = runner
        if runner is not self._runner or self._step < 0:
            return
        wrapped, self._wrapped = self._wrapped, {}
        tell_stage = next(self._stages, self._tell_final)
        programs = [wrapped[id(function)][1] for function, _ in pairs]
        tell_stage(programs, outputs)

    def _tell_buckets(self, _: list[Any], outputs: list[Any]) -> None:
        numbers = [float(output["score"]) for output in outputs]
        rows = len(numbers) // self._samples
        buckets = [_gaps(numbers[row::rows]) for row in range(rows)]
        for max_to_min, highest, max_to_avg in sorted(buckets, reverse=True):
            gaps = {"max_to_min_gap": max_to_min, "max_to_avg_gap": max_to_avg}
            self._tell("bucket", step=self._step, max_score=highest, **gaps)

    def _tell_candidates(self, programs: list[Any], outputs: list[Any]) -> None:
        groups = _by_program(programs, outputs)
        first, self._candidates = self._candidates + 1, self._candidates + len(groups)
        for key, (program, rows) in enumerate(groups, first):
            self._keys.setdefault(_content(program), key)
            self._tell_scored(program, rows, "minibatch", _parents(program), key)

    def _tell_final(self, programs: list[Any], outputs: list[Any]) -> None:
        for place, (program, rows) in enumerate(_by_program(programs, outputs)):
            # A copy, with the number of the program that it was made from.
            key = self._keys.get(_content(program), ("train", place))
            results = [(row.get("example"), row.get("prediction"), row["score"]) for row in rows]
            self._tell_scored(program, rows, "train", None, key, results)

    def _tell_scored(
        self,
        program: Any,
        rows: list[Any],
        kind: str,
        parents: list[int] | None,
        key: Any,
        results: list[tuple[Any, Any, Any]] | None = None,
    ) -> None:
        scores = [row["score"] for row in rows]
        facts = {"scores": scores, "kind": kind, "parents": parents, "key": key, "results": results}
        self._tell("candidate_scored", program=program, instructions=None, **facts)

    @never_raises
    def tell_added(self, strategy: Callable, before: "_Parts", program: Any) -> None:
        self._made += 1
        added = _added(before, _parts(program))
        self._tell_strategy(strategy, added, program, self._candidates + self._made)

    @never_raises
    def tell_failed(self, strategy: Callable, program: Any, error: Exception) -> None:
        self._tell_strategy(strategy, {}, program, None)
        self._tell("error", exception=error)

    def _tell_strategy(self, strategy: Callable, added: dict[str, Any], program: Any, key: int | None) -> None:
        name = strategy.__name__.rstrip("_")
        self._tell("strategy", step=self._step, name=name, added=added, key=key, parents=_parents(program))


def _gaps(bucket: list[float]) -> tuple[float, float, float]:
    """What SIMBA sorts its buckets by."""
    highest = max(bucket)
    return highest - min(bucket), highest, highest - sum(bucket) / len(bucket)


def _by_program(programs: list[Any], outputs: list[Any]) -> list[tuple[Any, list[Any]]]:
    """The rows of each program, which stand together."""
    rows = itertools.groupby(zip(programs, outputs, strict=True), key=lambda row: id(row[0]))
    groups = [list(group) for _, group in rows]
    return [(group[0][0], [output for _, output in group]) for group in groups]


# -- looking at a program ---------------------------------------------------------------------

# By predictor: its instructions and its demos.
_Parts = dict[str, tuple[str, list[Any]]]


def _parts(program: Any) -> _Parts:
    return {name: (each.signature.instructions, list(each.demos)) for name, each in program.named_predictors()}


def _parents(program: Any) -> list[int]:
    """The program that a candidate is a changed copy of: SIMBA gives it a number of its own at the end of its step."""
    return [program.simba_idx]


def _added(before: _Parts, after: _Parts) -> dict[str, dict[str, Any]]:
    added: dict[str, dict[str, Any]] = {}
    for name, (instructions, demos) in after.items():
        old_instructions, old_demos = before.get(name, ("", []))
        if instructions != old_instructions:
            added.setdefault(name, {})["rule"] = instructions.removeprefix(old_instructions).strip()
        if len(demos) > len(old_demos):
            added.setdefault(name, {})["demos"] = demos[len(old_demos) :]
    return added


def _content(program: Any) -> Any:
    """By what a copy of a program is known again, unless it holds values that copies print otherwise."""
    return attempt(lambda: hash(repr(_parts(program))), lambda _: object())


# -- where SIMBA is heard ---------------------------------------------------------------------

_climb: contextvars.ContextVar[_Climb | None] = contextvars.ContextVar("mlflow_dspy_plugin_simba", default=None)


def _climbing(tell: Callable[..., None], original: Callable) -> Callable:
    def compile(self, student, *args, **kwargs):
        token = _climb.set(_Climb(tell, student))
        try:
            return original(self, student, *args, **kwargs)
        finally:
            _climb.reset(token)

    return compile


def _beginning_step(original: Callable) -> Callable:
    def prepare_models_for_resampling(*args, **kwargs):
        models = original(*args, **kwargs)
        if (climb := _climb.get()) is not None:
            climb.begin_step(models)
        return models

    return prepare_models_for_resampling


def _noting_program(original: Callable) -> Callable:
    def wrap_program(program, *args, **kwargs):
        function = original(program, *args, **kwargs)
        if (climb := _climb.get()) is not None:
            climb.note_program(function, program)
        return function

    return wrap_program


def _hearing_scores(original: Callable) -> Callable:
    def forward(self, exec_pairs, *args, **kwargs):
        outputs = original(self, exec_pairs, *args, **kwargs)
        if (climb := _climb.get()) is not None:
            climb.hear(self, exec_pairs, outputs)
        return outputs

    return forward


def _watch_strategies(optimizer: type) -> Callable[[], None]:
    """Have the strategies of each optimizer watched, which it holds since it was made."""
    if "strategies" in vars(optimizer):
        return lambda: None
    optimizer.strategies = strategies = _Strategies()

    def undo() -> None:
        if vars(optimizer).get("strategies") is strategies:
            del optimizer.strategies

    return undo


class _Strategies:
    """The attribute `strategies`: inside a compile what it holds is watched, and elsewhere it is as ever."""

    def __get__(self, optimizer: Any, owner: type | None = None) -> Any:
        if optimizer is None or "strategies" not in vars(optimizer):
            raise AttributeError(f"{(owner or type(optimizer)).__name__!r} has no attribute 'strategies'")
        strategies, climb = vars(optimizer)["strategies"], _climb.get()
        return strategies if climb is None else [_Watched(each, climb) for each in strategies]

    def __set__(self, optimizer: Any, strategies: Any) -> None:
        vars(optimizer)["strategies"] = strategies

    def __delete__(self, optimizer: Any) -> None:
        del vars(optimizer)["strategies"]


class _Watched:
    """A strategy that tells what it has added; everything else about it is its own."""

    def __init__(self, strategy: Callable, climb: _Climb):
        self._strategy = strategy
        self._climb = climb

    def __getattr__(self, name: str) -> Any:
        return getattr(self._strategy, name)

    def __call__(self, bucket: Any, system: Any, **kwargs: Any) -> Any:
        before = attempt(lambda: _parts(system), lambda _: {})
        try:
            done = self._strategy(bucket, system, **kwargs)
        except Exception as error:
            self._climb.tell_failed(self._strategy, system, error)
            raise
        self._climb.tell_added(self._strategy, before, system)
        return done

"""What `dspy.SIMBA` tells, held against what it logs and attaches to its result."""

import logging
import re
import threading
from collections import defaultdict
from contextlib import contextmanager
from typing import NamedTuple

import dspy
import pytest

from mlflow_dspy_plugin.quickstart.data import read_rows, split
from mlflow_dspy_plugin.quickstart.lm import in_context_lm
from mlflow_dspy_plugin.quickstart.program import TextClassifier
from mlflow_dspy_plugin.seams.simba import watch_simba
from tests.seams.telling import Told, alive, faulty, instructions_of, watching

TRAINSET = split(read_rows())[0][:12]
LABELS = {example.label for example in TRAINSET}
STEPS, SIZE, CANDIDATES = 2, 6, 3


def is_right(example, prediction, trace=None):
    return float(example.label == prediction.label)


class Compile:
    """One compile; the same whenever it is run."""

    def __init__(self, metric=is_right, **settings):
        defaults = {"bsize": SIZE, "max_steps": STEPS, "num_candidates": CANDIDATES, "max_demos": 3, "num_threads": 1}
        self.lm = in_context_lm(seed=1)
        with dspy.context(lm=self.lm):
            self.optimizer = dspy.SIMBA(metric=metric, **{**defaults, **settings})

    def run(self):
        with dspy.context(lm=self.lm):
            return self.optimizer.compile(TextClassifier(LABELS), trainset=TRAINSET, seed=4)


@pytest.fixture
def told():
    told = Told()
    with watching(watch_simba, told):
        yield told


@contextmanager
def logged():
    """The lines that SIMBA logs until the end of the block."""
    lines, logger = [], logging.getLogger("dspy.teleprompt.simba")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Recorded(NamedTuple):
    """What one compile has told, logged and returned."""

    told: Told
    log: list[str]
    best: TextClassifier


@pytest.fixture(scope="module")
def recorded():
    told = Told()
    with watching(watch_simba, told), logged() as log:
        return Recorded(told, log, Compile().run())


def found(pattern, lines):
    return [match.groups() for line in lines if (match := re.search(pattern, line))]


def parts_of(program):
    return {name: (each.signature.instructions, list(each.demos)) for name, each in program.named_predictors()}


def test_the_buckets_of_each_step_are_those_that_simba_goes_through(recorded):
    told, log, _ = recorded
    gone_through = defaultdict(list)
    pattern = r"Batch (\d+): Processing .* max score ([\d.]+), max-to-min gap ([\d.]+), and max-to-avg gap ([\d.]+)\."
    for step, *gaps in found(pattern, log):
        gone_through[int(step) - 1].append(tuple(map(float, gaps)))
    assert set(gone_through) == set(range(STEPS))
    for step, expected in gone_through.items():
        buckets = told.of("bucket", step=step)
        gaps = [(each["max_score"], each["max_to_min_gap"], each["max_to_avg_gap"]) for each in buckets]
        assert len(gaps) == SIZE
        assert gaps[: len(expected)] == expected


def test_each_strategy_is_told_with_what_it_has_added_to_which_program(recorded):
    told, log, _ = recorded
    strategies = told.of("strategy")
    invoked = found(r"Invoking strategy: (\w+?)_?(?:,|$)", log)
    assert [(facts["name"],) for facts in strategies] == invoked
    assert {facts["name"] for facts in strategies} == {"append_a_demo", "append_a_rule"}
    told_of = {name: [each for each in strategies if each["name"] == name and each["added"]] for (name,) in invoked}
    assert all(told_of.values())
    scored = told.of("candidate_scored", kind="minibatch")
    assert [facts["key"] for facts in strategies] == [facts["key"] for facts in scored]
    assert [facts["parents"] for facts in strategies] == [facts["parents"] for facts in scored]


def test_a_candidate_is_its_parent_with_what_was_added(recorded):
    told = recorded.told
    added = {facts["key"]: facts["added"] for facts in told.of("strategy")}
    scored = told.of("candidate_scored", kind="minibatch")
    parts = {0: parts_of(TextClassifier(LABELS)), **{facts["key"]: parts_of(facts["program"]) for facts in scored}}
    assert len(scored) == STEPS * (CANDIDATES + 1)
    for facts in scored:
        before = parts[facts["parents"][0]]
        for name, (instructions, demos) in parts[facts["key"]].items():
            change = added[facts["key"]].get(name, {})
            rule = f"\n\n{change['rule']}" if "rule" in change else ""
            assert instructions == before[name][0] + rule
            new = change.get("demos", [])
            assert demos[len(demos) - len(new) :] == new
            assert all(demo in before[name][1] for demo in demos[: len(demos) - len(new)])


def test_candidates_have_the_scores_by_which_simba_goes_on(recorded):
    told, log, best = recorded
    averages = [sum(facts["scores"]) / SIZE for facts in told.of("candidate_scored", kind="minibatch")]
    logged = [float(each) for (line,) in found(r"Scores after \d+ batches: \[(.*?)\]", log) for each in line.split(",")]
    assert averages == logged
    final = told.of("candidate_scored", kind="train")
    scores = [sum(facts["scores"]) / len(TRAINSET) for facts in final]
    assert {len(facts["scores"]) for facts in final} == {len(TRAINSET)}
    assert sorted(scores, reverse=True) == [each["score"] for each in best.candidate_programs]
    assert {id(facts["program"]) for facts in final} == {id(each["program"]) for each in best.candidate_programs}
    assert told.threads == {threading.current_thread()}


def test_what_is_scored_at_the_end_has_the_key_that_it_had_before(recorded):
    told = recorded.told
    parts = {0: parts_of(TextClassifier(LABELS))}
    parts |= {facts["key"]: parts_of(facts["program"]) for facts in told.of("candidate_scored", kind="minibatch")}
    final = told.of("candidate_scored", kind="train")
    assert final[0]["key"] == 0
    assert len(final) > 1
    for facts in final:
        assert parts_of(facts["program"]) == parts[facts["key"]]


def test_keys_are_the_numbers_that_simba_gives_its_programs(recorded):
    scored = recorded.told.of("candidate_scored", kind="minibatch")
    assert [facts["key"] for facts in scored] == [facts["program"].simba_idx for facts in scored]


def test_a_strategy_that_fails_is_told_and_makes_no_candidate(told):
    error = ValueError("nothing learned")

    def fail(bucket, system, **kwargs):
        raise error

    compile = Compile(max_steps=1)
    compile.optimizer.strategies = [fail]
    compile.run()
    assert [facts["exception"] for facts in told.of("error")] == [error] * SIZE
    assert {(facts["name"], facts["key"]) for facts in told.of("strategy")} == {("fail", None)}
    (only,) = told.of("candidate_scored")
    assert (only["kind"], only["key"], len(only["scores"])) == ("train", 0, len(TRAINSET))


@pytest.mark.parametrize("threads", [1, 4])
def test_a_program_that_runs_others_in_parallel_is_told_as_any_other(told, threads):
    class Nested(dspy.Module):
        def __init__(self):
            super().__init__()
            self.inner = TextClassifier(LABELS)

        def forward(self, text):
            pairs = [(self.inner, dspy.Example(text=text).with_inputs("text"))] * 2
            return dspy.Parallel(num_threads=1, disable_progress_bar=True)(pairs)[0]

    compile = Compile(max_steps=1, num_threads=threads)
    with dspy.context(lm=compile.lm):
        compile.optimizer.compile(Nested(), trainset=TRAINSET)
    scored = told.of("candidate_scored")
    assert [facts["kind"] for facts in scored] == ["minibatch"] * (CANDIDATES + 1) + ["train"] * 2
    assert len(told.of("bucket")) == SIZE


@pytest.mark.parametrize("tell", [Told(), faulty], ids=["told", "faulty"])
def test_a_compile_returns_the_same_watched_or_not(tell, monkeypatch):
    monkeypatch.delenv("MLFLOW_AUTOLOGGING_TESTING")
    expected = Compile().run()
    watched = Compile()
    strategies = watched.optimizer.strategies
    with watching(watch_simba, tell):
        result = watched.run()
        assert watched.optimizer.strategies is strategies
    assert vars(watched.optimizer)["strategies"] is strategies
    assert result.dump_state() == expected.dump_state()
    assert result.trial_logs == expected.trial_logs
    assert [(each["score"], instructions_of(each["program"])) for each in result.candidate_programs] == [
        (each["score"], instructions_of(each["program"])) for each in expected.candidate_programs
    ]


def test_compiles_in_two_threads_stay_apart(told):
    Compile().run()
    alone = [(fact.kind, fact.facts.get("key"), fact.facts.get("scores")) for fact in told.all]
    told.all.clear()
    compiles = [threading.Thread(target=Compile().run) for _ in range(2)]
    for each in compiles:
        each.start()
    for each in compiles:
        each.join()
    for thread in compiles:
        facts = [fact for fact in told.all if fact.thread is thread]
        assert [(fact.kind, fact.facts.get("key"), fact.facts.get("scores")) for fact in facts] == alone


def test_nothing_of_a_compile_is_kept_after_it(told):
    best = Compile().run()
    assert best.candidate_programs and told.all
    assert not alive("_Climb")


def test_an_exception_leaves_unchanged(told):
    with pytest.raises(AssertionError, match="Trainset too small") as raised:
        Compile(bsize=100).run()
    assert raised.value.__cause__ is None
    assert not told.all


def test_the_undo_gives_everything_back():
    from dspy.teleprompt import simba as module

    before = [dict(vars(each)) for each in (module, dspy.SIMBA, dspy.Parallel)]
    undo = watch_simba(Told())
    assert dict(vars(dspy.SIMBA)) != before[1]
    undo()
    assert [dict(vars(each)) for each in (module, dspy.SIMBA, dspy.Parallel)] == before

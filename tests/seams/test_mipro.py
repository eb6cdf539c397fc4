"""What `dspy.MIPROv2` tells, held against the logs that it attaches to its result and the evaluations of DSPy."""

import threading
import zlib

import dspy
import pytest
from dspy.utils.callback import BaseCallback

from mlflow_dspy_plugin.seams.mipro import watch_mipro
from tests.fakes.scripted import scripted_lm
from tests.seams.telling import Told, alive, asked_fields, faulty, instructions_of, watching

pytest.importorskip("optuna", reason="MIPROv2 searches with it")

LABELS = ("even", "odd")
ROWS = [dspy.Example(number=str(number), label=LABELS[number % 2]).with_inputs("number") for number in range(20)]
TRAINSET, VALSET = ROWS[:10], ROWS[10:]


class Twofold(dspy.Module):
    """Two predictors: what MIPROv2 numbers is told by name."""

    def __init__(self):
        super().__init__()
        self.think = dspy.Predict("number -> thought")
        self.label = dspy.Predict(dspy.Signature("number, thought -> label", "Say whether it is even."))

    def forward(self, number):
        return self.label(number=number, thought=self.think(number=number).thought)


def answer(messages):
    """Fields that depend on all that was asked; what is right, on the instructions and demos."""
    asked = zlib.crc32(str(messages).encode())
    return {name: LABELS[asked % 2] if name == "label" else f"{name} {asked}" for name in asked_fields(messages)}


def is_right(example, prediction, trace=None):
    return example.label == prediction.label


class Compile:
    """One compile; the same whenever it is run."""

    def __init__(self, answers=answer, demos=2, **settings):
        self.lm, self.demos = scripted_lm(answers), demos
        self.settings = {"num_trials": 5, "minibatch_size": 4, "minibatch_full_eval_steps": 2, **settings}

    def run(self):
        with dspy.context(lm=self.lm):
            optimizer = dspy.MIPROv2(
                metric=is_right,
                auto=None,
                num_candidates=4,
                max_bootstrapped_demos=self.demos,
                max_labeled_demos=self.demos,
                num_threads=1,
                seed=5,
            )
            return optimizer.compile(Twofold(), trainset=TRAINSET, valset=VALSET, **self.settings)


class Evaluations(BaseCallback):
    """The programs that DSPy evaluates, and under which names."""

    def __init__(self):
        self.seen = []

    def on_evaluate_start(self, call_id, instance, inputs):
        self.seen.append((inputs["program"], inputs["callback_metadata"]["metric_key"]))


@pytest.fixture
def told():
    told = Told()
    with watching(watch_mipro, told):
        yield told


def choices(logs):
    """What a trial's logs say it has chosen, by the names of the predictors."""
    parts = {"instruction": "predictor_instruction", "demos": "predictor_demos"}
    names = [name for name, _ in Twofold().named_predictors()]
    chosen = {
        name: {part: logs[f"{place}_{key}"] for part, key in parts.items() if f"{place}_{key}" in logs}
        for place, name in enumerate(names)
    }
    return {name: each for name, each in chosen.items() if each}


def test_each_trial_is_told_by_number_with_its_choice_and_kind(told):
    logs = Compile().run().trial_logs
    trials = told.of("trial")
    assert [facts["number"] for facts in trials] == sorted(logs)
    for facts in trials:
        log = logs[facts["number"]]
        assert facts["kind"] == ("full" if "full_eval_score" in log else "minibatch")
        if facts["kind"] == "minibatch":
            assert facts["chosen"] == choices(log)
    assert {facts["kind"] for facts in trials} == {"full", "minibatch"}
    assert told.threads == {threading.current_thread()}


def test_a_trial_s_choice_is_what_the_evaluated_program_has(told):
    evaluations = Evaluations()
    with dspy.context(callbacks=[evaluations]):
        Compile().run()
    trials = told.of("trial")
    assert [key for _, key in evaluations.seen] == [f"eval_{facts['kind']}" for facts in trials]
    proposed = {facts["predictor"]: facts["instructions"] for facts in told.of("proposal")}
    sets = {facts["predictor"]: facts["sets"] for facts in told.of("demo_sets")}
    assert trials[0]["chosen"] == {} and all(facts["chosen"] for facts in trials[1:])
    for (program, _), facts in list(zip(evaluations.seen, trials, strict=True))[1:]:
        demos = {name: predictor.demos for name, predictor in program.named_predictors()}
        for name, chosen in facts["chosen"].items():
            assert instructions_of(program)[name] == proposed[name][chosen["instruction"]]
            assert demos[name] == sets[name][chosen["demos"]]


def test_proposals_begin_with_the_program_s_own_instructions_and_sets_with_none(told):
    Compile().run()
    own = instructions_of(Twofold())
    proposals = told.of("proposal")
    assert [facts["predictor"] for facts in proposals] == list(own)
    for facts in proposals:
        first, *others = facts["instructions"]
        assert first == own[facts["predictor"]]
        assert others and all(text.startswith("proposed_instruction ") for text in others)
    for facts in told.of("demo_sets"):
        first, *others = facts["sets"]
        assert first == [] and any(others)


def test_without_minibatches_every_trial_is_full(told):
    logs = Compile(minibatch=False).run().trial_logs
    trials = told.of("trial")
    assert [(facts["number"], facts["kind"]) for facts in trials] == [(number, "full") for number in sorted(logs)]
    assert [facts["chosen"] for facts in trials[1:]] == [choices(logs[facts["number"]]) for facts in trials[1:]]


def test_an_optimizer_that_adds_no_demos_chooses_none(told):
    Compile(demos=0).run()
    assert any(any(facts["sets"]) for facts in told.of("demo_sets"))
    chosen = [each for facts in told.of("trial") for each in facts["chosen"].values()]
    assert chosen and all(each.keys() == {"instruction"} for each in chosen)


@pytest.mark.parametrize("tell", [Told(), faulty], ids=["told", "faulty"])
def test_a_compile_asks_and_returns_the_same_watched_or_not(tell, monkeypatch):
    monkeypatch.delenv("MLFLOW_AUTOLOGGING_TESTING")
    plain, watched = Compile(), Compile()
    expected = plain.run()
    with watching(watch_mipro, tell):
        found = watched.run()
    assert watched.lm.script.requests == plain.lm.script.requests
    assert found.dump_state() == expected.dump_state()
    scores = [[(each["score"], each["full_eval"]) for each in run.candidate_programs] for run in (found, expected)]
    assert scores[0] == scores[1]


def test_an_exception_leaves_unchanged(told):
    def refuse(messages):
        return RuntimeError("no answer") if "proposed_instruction" in str(messages) else answer(messages)

    with pytest.raises(Exception, match="no answer"):
        Compile(refuse).run()
    assert told.of("demo_sets") and not told.of("trial")


def test_nothing_of_a_compile_is_kept_after_it(told):
    Compile().run()
    assert told.of("trial")
    assert not alive("_Search")


def test_the_undo_gives_everything_back():
    from dspy.teleprompt import mipro_optimizer_v2 as module

    before = dict(vars(module)), dict(vars(dspy.MIPROv2))
    undo = watch_mipro(Told())
    assert dict(vars(dspy.MIPROv2)) != before[1]
    undo()
    assert (dict(vars(module)), dict(vars(dspy.MIPROv2))) == before

"""What `dspy.GEPA` tells, held against its own results, the user's own callbacks and the evaluations that DSPy tells."""

import threading
from typing import Any, NamedTuple

import dspy
import gepa
import pytest
from dspy.utils.callback import BaseCallback

from mlflow_dspy_plugin.seams.gepa import watch_gepa
from tests.fakes.scripted import scripted_lm
from tests.seams.telling import Told, alive, faulty, instructions_of, watching

try:
    from gepa.core.callbacks import GEPACallback
except ImportError:
    GEPACallback = None

needs_callbacks = pytest.mark.skipif(GEPACallback is None, reason="this gepa has no callbacks")
LESSON = "Mind the LESSON."
KINDS = ("color", "shape")
ROWS = [dspy.Example(text=f"row {number}", kind=KINDS[number % 2]).with_inputs("text") for number in range(12)]
TRAINSET, VALSET = ROWS[:6], ROWS[6:]
BUDGET = 80
# A program that knows one lesson does better at one kind of rows and worse at the other: both are on the front.
SCORES = {"right": 1.0, "wrong": 0.2, "neither": 0.5}


class Twofold(dspy.Module):
    """Two predictors, each with a lesson to learn."""

    def __init__(self):
        super().__init__()
        self.color = dspy.Predict("text -> color")
        self.shape = dspy.Predict("text -> shape")

    def forward(self, text):
        return dspy.Prediction(color=self.color(text=text).color, shape=self.shape(text=text).shape)


def scorer(both=1.0):
    """A metric for which a program that knows both lessons is worth `both`."""

    def score(example, prediction, trace=None, pred_name=None, pred_trace=None):
        learned = {kind for kind in KINDS if prediction[kind] == "learned"}
        if len(learned) == 2:
            return both
        return SCORES["neither" if not learned else "right" if example.kind in learned else "wrong"]

    return score


def answer(messages):
    knows = LESSON in str(messages[0]["content"])
    field = "color" if "`color`" in str(messages) else "shape"
    return {field: "learned" if knows else "guessed"}


def reflect(messages):
    # DSPy's own proposer asks for JSON, gepa's for a fenced text.
    return f'{{"new_instruction": "{LESSON}"}}' if "`new_instruction`" in str(messages) else f"```\n{LESSON}\n```"


class Compile:
    """One compile; the same whenever it is run."""

    def __init__(self, metric=None, budget=BUDGET, program=None, **settings):
        self.lm, self.reflection_lm = scripted_lm(answer), scripted_lm(reflect)
        self.optimizer = dspy.GEPA(
            metric=metric or scorer(),
            max_metric_calls=budget,
            reflection_lm=self.reflection_lm,
            num_threads=1,
            **{"seed": 5, "track_stats": True, **settings},
        )
        self.program = program or Twofold()

    def run(self):
        with dspy.context(lm=self.lm):
            return self.optimizer.compile(self.program, trainset=TRAINSET, valset=VALSET)

    @property
    def requests(self):
        return [lm.script.requests for lm in (self.lm, self.reflection_lm)]


class Evaluations(BaseCallback):
    """How many rows DSPy evaluates, and whether with logging left on."""

    def __init__(self):
        self.seen = []

    def on_evaluate_start(self, call_id, instance, inputs):
        metadata = inputs.get("callback_metadata") or {}
        self.seen.append((len(instance.devset), not metadata.get("disable_logging")))


class Listening:
    """A callback of the user's for gepa."""

    def __init__(self, name="", heard=None):
        self.name, self.heard, self.events = name, heard, []

    def __getattr__(self, name):
        if not name.startswith("on_"):
            raise AttributeError(name)

        def hear(event):
            self.events.append((name, event))
            if self.heard is not None:
                self.heard.append((name, self.name))

        return hear

    def of(self, name):
        return [event for each, event in self.events if each == name]


class Recorded(NamedTuple):
    """What one compile has told, who else has heard of it, and its result."""

    told: Told
    listening: Listening
    evaluations: Evaluations
    result: Any


def record(**settings):
    told, listening, evaluations = Told(), Listening(), Evaluations()
    if GEPACallback:
        settings = {"gepa_kwargs": {"callbacks": [listening]}, **settings}
    with watching(watch_gepa, told), dspy.context(callbacks=[evaluations]):
        best = Compile(**settings).run()
    return Recorded(told, listening, evaluations, getattr(best, "detailed_results", None))


@pytest.fixture(scope="module")
def recorded():
    return record()


@pytest.fixture
def told():
    told = Told()
    with watching(watch_gepa, told):
        yield told


def kept(told):
    """Of each candidate on which the validation set was evaluated, its number in gepa's result by its key."""
    return {facts["key"]: number for number, facts in enumerate(told.of("candidate_scored", kind="full"))}


def test_the_candidates_that_gepa_keeps_are_told_with_scores_and_lineage(recorded):
    told, result = recorded.told, recorded.result
    full, numbers = told.of("candidate_scored", kind="full"), kept(told)
    assert len(full) > 2
    assert [facts["instructions"] for facts in full] == [instructions_of(each) for each in result.candidates]
    values = [each.values() if isinstance(each, dict) else each for each in result.val_subscores]
    assert [facts["scores"] for facts in full] == [list(each) for each in values]
    lineage = [[numbers[key] for key in facts["parents"]] for facts in full]
    assert lineage == [[each for each in parents if each is not None] for parents in result.parents]


def test_as_much_is_told_where_the_user_wants_no_statistics(recorded):
    other = record(track_stats=False)
    assert other.result is None
    for kind in ("candidate_scored", "candidate_accepted", "candidate_rejected", "pareto", "budget"):
        assert other.told.of(kind) == recorded.told.of(kind)


def test_acceptance_front_and_budget_are_those_of_gepa_s_result(recorded):
    told, result = recorded.told, recorded.result
    accepted, numbers = told.of("candidate_accepted"), kept(told)
    assert [numbers[facts["key"]] for facts in accepted] == list(range(1, len(result.candidates)))
    assert [facts["score"] for facts in accepted] == pytest.approx(result.val_aggregate_scores[1:])
    best = result.per_val_instance_best_candidates
    front = set().union(*(best.values() if isinstance(best, dict) else best))
    assert {numbers[key] for key in told.of("pareto")[-1]["front"]} == front
    spent = told.of("budget")[-1]
    assert spent == {"used": result.total_metric_calls, "left": max(0, BUDGET - result.total_metric_calls)}
    assert told.threads == {threading.current_thread()}


def test_a_compile_asks_and_returns_the_same_watched_or_not():
    plain = Compile()
    expected = plain.run()
    with watching(watch_gepa, Told()):
        watched = Compile()
        found = watched.run()
    assert watched.requests == plain.requests
    assert found.dump_state() == expected.dump_state()
    for name in ("parents", "val_subscores", "discovery_eval_counts", "total_metric_calls"):
        assert getattr(found.detailed_results, name) == getattr(expected.detailed_results, name)


def test_a_fault_of_who_is_told_reaches_nobody(monkeypatch):
    monkeypatch.delenv("MLFLOW_AUTOLOGGING_TESTING")
    plain, watched = Compile(), Compile()
    expected = plain.run()
    with watching(watch_gepa, faulty):
        found = watched.run()
    assert watched.requests == plain.requests
    assert found.dump_state() == expected.dump_state()


class Unsound(Twofold):
    """A program that cannot be copied any more, once it was copied a few times."""

    def __init__(self, error):
        super().__init__()
        self.copies, self.error = [], error

    def deepcopy(self):
        self.copies.append(None)
        if len(self.copies) > 4:
            raise self.error
        copy = Twofold()
        for name, predictor in copy.named_predictors():
            predictor.signature = dict(self.named_predictors())[name].signature
        return copy


def test_an_exception_leaves_unchanged_and_is_told_where_gepa_tells_it(told):
    error = RuntimeError("cannot be copied")
    with pytest.raises(RuntimeError, match="cannot be copied") as raised:
        Compile(program=Unsound(error)).run()
    assert raised.value is error
    assert [facts["exception"] for facts in told.of("error")] == ([error] if GEPACallback else [])


def test_the_undo_gives_gepa_back():
    original = gepa.optimize
    undo = watch_gepa(Told())
    assert gepa.optimize is not original
    undo()
    assert gepa.optimize is original


def test_what_is_optimized_without_dspy_is_not_told(told):
    class Adapter:
        propose_new_texts = None

        def evaluate(self, batch, candidate, capture_traces=False):
            return gepa.EvaluationBatch(outputs=batch, scores=[1.0] * len(batch), trajectories=batch)

    seed = {"part": "text"}
    lm = lambda prompt: "text"  # noqa: E731
    result = gepa.optimize(seed, [1], [1], Adapter(), reflection_lm=lm, max_metric_calls=2)
    assert result.best_candidate == seed
    assert not told.all


# -- what only releases of gepa with callbacks know -------------------------------------------


@needs_callbacks
def test_the_user_s_callbacks_come_first_and_in_order_and_their_settings_stay():
    heard = []
    theirs = [Listening("first", heard), Listening("second", heard)]
    settings = {"callbacks": theirs}
    compile, plain = Compile(gepa_kwargs=settings), Compile(gepa_kwargs=dict(settings))
    with watching(watch_gepa, lambda kind, /, **facts: heard.append((kind, "ours"))):
        compile.run()
    names = [name for _, name in heard]
    at = [place for place, (event, _) in enumerate(heard) if event == "on_budget_updated"]
    assert [names[place : place + 3] for place in at[::2]] == [["first", "second", "ours"]] * (len(at) // 2)
    assert theirs[0].events[0][0] == "on_optimization_start"
    assert settings == {"callbacks": theirs} and len(theirs) == 2
    plain.run()
    assert vars(compile.optimizer).keys() == vars(plain.optimizer).keys()
    assert compile.optimizer.gepa_kwargs is settings


@needs_callbacks
def test_a_callback_that_the_user_adds_later_is_heard_too(told):
    late = Listening()

    class Adding:
        def on_iteration_start(self, event):
            if late not in theirs:
                theirs.append(late)

    theirs = [Adding()]
    Compile(gepa_kwargs={"callbacks": theirs}).run()
    assert late.of("on_optimization_end")


@needs_callbacks
def test_callbacks_that_are_no_list_fail_as_they_do_without():
    errors = []
    for watch in (lambda _: lambda: None, watch_gepa):
        with watching(watch, Told()), pytest.raises(TypeError, match="not iterable") as raised:
            Compile(gepa_kwargs={"callbacks": 3}).run()
        errors.append(str(raised.value))
    assert errors[0] == errors[1]


@needs_callbacks
def test_every_scoring_is_told_with_whether_dspy_tells_of_its_evaluation(recorded):
    told, listening, evaluations, _ = recorded
    scored = told.of("candidate_scored")
    assert [(len(facts["scores"]), facts["logged"]) for facts in scored] == evaluations.seen
    assert {kind for kind, _ in evaluations.seen} == {3, 5, 6}
    heard = [event["scores"] for event in listening.of("on_evaluation_end")]
    assert [facts["scores"] for facts in scored if facts["kind"] == "minibatch"] == heard


@needs_callbacks
def test_a_rejected_candidate_is_told_with_its_reason_and_both_scores(recorded):
    told, listening, *_ = recorded
    rejected = told.of("candidate_rejected")
    assert rejected
    names = ("reason", "old_score", "new_score")
    expected = [{name: event[name] for name in names} for event in listening.of("on_candidate_rejected")]
    assert [{name: facts[name] for name in names} for facts in rejected] == expected
    accepted = {facts["key"] for facts in told.of("candidate_accepted")}
    for facts in rejected:
        (scored,) = told.of("candidate_scored", key=facts["key"])
        assert sum(scored["scores"]) == facts["new_score"]
        assert facts["key"] not in accepted


@needs_callbacks
def test_a_child_has_the_texts_of_its_parent_and_those_that_reflection_proposed(recorded):
    told, listening, *_ = recorded
    texts = {}
    proposals = [facts["proposals"] for facts in told.of("reflection")]
    assert proposals == [event["new_instructions"] for event in listening.of("on_proposal_end")]
    for facts in told.of("candidate_scored"):
        if facts["key"] not in texts and len(facts["parents"]) == 1:
            assert facts["instructions"] == {**texts[facts["parents"][0]], **proposals.pop(0)}
        texts.setdefault(facts["key"], facts["instructions"])
    assert not proposals
    shown = told.of("reflection")[0]
    examples = listening.of("on_reflective_dataset_built")[0]["dataset"]
    assert shown["prompts"] == examples and shown["components"] == list(examples)


@needs_callbacks
@pytest.mark.parametrize("both", [1.0, 0.0])
def test_a_merge_is_told_with_its_parents_and_what_became_of_it(recorded, both):
    told, listening, *_ = recorded if both else record(metric=scorer(both))
    attempts = listening.of("on_merge_attempted")
    merges, numbers = told.of("merge"), kept(told)
    assert len(merges) == len(attempts) > 0
    assert {facts["accepted"] for facts in merges} == {both > 0.0}
    assert [[numbers[key] for key in facts["parents"]] for facts in merges] == [
        list(event["parent_ids"]) for event in attempts
    ]
    scored = {facts["key"]: facts for facts in reversed(told.of("candidate_scored", kind="minibatch"))}
    merged = [facts for _, facts in sorted(scored.items()) if len(facts["parents"]) == 2]
    assert [facts["instructions"] for facts in merged] == [event["merged_candidate"] for event in attempts]
    fates = told.of("candidate_accepted") + told.of("candidate_rejected")
    assert {facts["key"] for facts in merged} <= {facts["key"] for facts in fates}


@needs_callbacks
def test_several_children_of_an_iteration_are_told_apart(told):
    from gepa.strategies.proposal_sampling import IndependentSampling
    from gepa.strategies.proposal_selection import BestImprovement

    strategies = {"sampling_strategy": IndependentSampling(3), "selection_strategy": BestImprovement()}
    listening = Listening()
    Compile(budget=150, use_merge=False, gepa_kwargs={"callbacks": [listening], **strategies}).run()
    accepted, rejected = told.of("candidate_accepted"), told.of("candidate_rejected")
    assert accepted and len(rejected) > len(accepted)
    assert len(rejected) == len(listening.of("on_candidate_rejected"))
    fates = [facts["key"] for facts in accepted + rejected]
    assert len(fates) == len(set(fates))
    texts = {facts["key"]: facts["instructions"] for facts in told.of("candidate_scored")}
    assert [texts[facts["key"]] for facts in accepted] == [
        event["candidate"] for event in listening.of("on_valset_evaluated")[1:]
    ]


@needs_callbacks
def test_a_compile_that_is_taken_up_again_knows_its_candidates(told, tmp_path):
    folder = str(tmp_path / "log")
    Compile(log_dir=folder, budget=55).run()
    told.all.clear()
    result = Compile(log_dir=folder).run().detailed_results
    accepted = told.of("candidate_accepted")
    assert accepted
    known = {facts["key"] for facts in told.of("candidate_scored", kind="full")}
    assert len(result.candidates) > len(known)
    assert [facts["score"] for facts in accepted] == pytest.approx(result.val_aggregate_scores[-len(accepted) :])


@needs_callbacks
def test_nothing_of_a_compile_is_kept_after_it(recorded):
    # What the user keeps of gepa's leads to the callbacks.
    assert recorded.listening.of("on_optimization_end")[0]["final_state"] is not None
    assert recorded.told.all
    assert not alive("_Observer")

"""The classifier serves as a DSPy language model on releases with and without engines."""

import asyncio
import copy
import pickle
import warnings

import cloudpickle
import dspy
import pytest

from mlflow_dspy_plugin.quickstart.data import read_rows, split
from mlflow_dspy_plugin.quickstart.lm import MODEL, in_context_lm

TEXT = "Sports in schools"


class Classify(dspy.Signature):
    """Classify the text."""

    text: str = dspy.InputField()
    label: str = dspy.OutputField(desc="Possible labels are ['food', 'sport']")


def drawn(lm, count=30):
    with dspy.context(lm=lm):
        return [dspy.Predict(Classify)(text="Zzz").label for _ in range(count)]


@pytest.fixture(autouse=True)
def cache_in_memory():
    before = dspy.cache
    dspy.configure_cache(enable_disk_cache=False)
    yield
    dspy.cache = before


@pytest.fixture(autouse=True)
def no_deprecated_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        yield


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()], ids=["chat", "json"])
def test_a_program_gets_its_label_through_each_adapter_with_and_without_cache(adapter, cache):
    with dspy.context(lm=in_context_lm(cache=cache), adapter=adapter):
        assert [dspy.Predict(Classify)(text=TEXT).label for _ in range(2)] == ["sport", "sport"]


def test_a_chain_of_thought_gets_its_reasoning():
    with dspy.context(lm=in_context_lm()):
        prediction = dspy.ChainOfThought(Classify)(text=TEXT)
    assert (prediction.label, "'sport'" in prediction.reasoning) == ("sport", True)


def test_an_awaited_program_gets_its_label():
    async def ask():
        with dspy.context(lm=in_context_lm()):
            return await dspy.Predict(Classify).acall(text=TEXT)

    assert asyncio.run(ask()).label == "sport"


def test_a_plain_prompt_is_answered():
    (answer,) = in_context_lm()("Hello?")
    assert answer.startswith("I am a small in-context classifier")


def test_several_answers_come_at_once():
    assert len(in_context_lm()("Hello?", n=3, temperature=1.0)) == 3


def test_usage_counts_the_words_of_prompt_and_answer():
    lm = in_context_lm()
    (answer,) = lm("one two three")
    usage = lm.history[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, len(answer.split()))


def test_its_name_stands_in_the_history():
    lm = in_context_lm()
    lm("Hello?")
    assert (lm.model, lm.history[-1]["model"]) == (MODEL, MODEL)


def test_copies_for_rollouts_draw_different_answers():
    lm = in_context_lm()
    rollouts = [drawn(lm.copy(rollout_id=number, temperature=1.0)) for number in range(2)]
    assert rollouts[0] != rollouts[1]


def test_equal_seeds_draw_equal_answers():
    assert drawn(in_context_lm(seed=7, temperature=1.0)) == drawn(in_context_lm(seed=7, temperature=1.0))


@pytest.mark.parametrize(
    "twin_of",
    [
        copy.deepcopy,
        lambda lm: pickle.loads(pickle.dumps(lm)),
        lambda lm: cloudpickle.loads(cloudpickle.dumps(lm)),
    ],
    ids=["deepcopy", "pickle", "cloudpickle"],
)
def test_a_twin_answers_alike(twin_of):
    lm = in_context_lm(seed=4, temperature=1.0)
    assert drawn(twin_of(lm)) == drawn(in_context_lm(seed=4, temperature=1.0))


def test_a_dumped_state_makes_an_equal_language_model():
    lm = in_context_lm(seed=4, temperature=1.0)
    if hasattr(dspy.BaseLM, "load_state"):
        loaded = dspy.BaseLM.load_state(lm.dump_state(), allow_custom_lm_class=True)
    else:
        loaded = type(lm).load_state(lm.dump_state())
    assert drawn(loaded) == drawn(lm)


def test_a_cached_answer_is_not_drawn_again():
    lm = in_context_lm(temperature=1.0, cache=True)
    assert len(set(drawn(lm))) == 1


def test_simba_makes_a_program_better():
    train, unseen = split(read_rows(), seed=0)
    labels = sorted({example.label for example in train})
    signature = Classify.with_updated_fields("label", desc=f"Label of predicted class. Possible labels are {labels}")

    def right(example, prediction, trace=None):
        return float(example.label == prediction.label)

    def accuracy(program):
        return sum(right(example, program(text=example.text)) for example in unseen) / len(unseen)

    with dspy.context(lm=in_context_lm()):
        program = dspy.Predict(signature)
        optimizer = dspy.SIMBA(metric=right, bsize=24, num_candidates=4, max_steps=3, max_demos=8, num_threads=1)
        assert accuracy(optimizer.compile(program, trainset=train)) > accuracy(program) + 0.1

"""The classifier goes by what the prompt says, answers in the form asked for, and never fails."""

import copy
import enum
import json
import pickle
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import dspy
import pydantic
import pytest
from dspy.teleprompt.simba_utils import OfferFeedback

from mlflow_dspy_plugin.quickstart.classifier import INTRODUCTION, InContextClassifier

LABELS = {"food", "sport"}
DEMOS = [
    {"text": "The coach praised the keeper after the match.", "label": "sport"},
    {"text": "Bake the bread in a hot oven.", "label": "food"},
]
ADVICE = "Texts with words like 'coach', 'match' are 'sport'.\nTexts with words like 'oven', 'bread' are 'food'."
QUESTION = "Warm bread with butter from the oven"


class Classify(dspy.Signature):
    """Classify the text."""

    text: str = dspy.InputField()
    label: str = dspy.OutputField(desc=f"Label of predicted class. Possible labels are {LABELS}")


class Address(pydantic.BaseModel):
    street: str
    number: int
    kind: Literal["home", "work"]
    note: str | None = None


class Everything(dspy.Signature):
    """Fill in the form."""

    text: str = dspy.InputField()
    reasoning: str = dspy.OutputField()
    summary: str = dspy.OutputField()
    choice: Literal["a", "b"] = dspy.OutputField()
    flag: bool = dspy.OutputField()
    count: int = dspy.OutputField()
    share: float = dspy.OutputField()
    names: list[str] = dspy.OutputField()
    table: dict[str, int] = dspy.OutputField()
    address: Address = dspy.OutputField()
    maybe: str | None = dspy.OutputField()


def answer(signature, inputs, demos=(), adapter=None, temperature=0.0, classifier=None):
    adapter = adapter or dspy.ChatAdapter()
    messages = adapter.format(signature, list(demos), inputs)
    return adapter.parse(signature, (classifier or InContextClassifier()).complete(messages, temperature))


def label_of(text, demos=(), signature=Classify, **options):
    return answer(signature, {"text": text}, demos, **options)["label"]


def test_a_label_named_in_the_text_is_chosen_without_demos():
    assert label_of("Sports in schools") == "sport"


def test_a_text_that_shares_no_word_gets_the_first_label():
    assert label_of("Zzz") == "food"


def test_demos_decide_where_names_do_not():
    text = "A match without a goal for the keeper"
    assert (label_of(text), label_of(text, DEMOS)) == ("food", "sport")


def test_advice_in_the_instruction_decides_where_names_do_not():
    text = "The match was late"
    assert label_of(text, signature=Classify.with_instructions(ADVICE)) == "sport"


@pytest.mark.parametrize("adapter", [dspy.ChatAdapter(), dspy.JSONAdapter()], ids=["chat", "json"])
def test_every_kind_of_field_gets_an_answer_that_parses(adapter):
    found = answer(Everything, {"text": "Some words"}, adapter=adapter)
    assert (
        found.pop("reasoning") == "The text shares no word with what the prompt says of any label, so 'a' is a guess."
    )
    assert found.pop("maybe") in ("Some words", None)
    assert found == {
        "summary": "Some words",
        "choice": "a",
        "flag": False,
        "count": 0,
        "share": 0.0,
        "names": [],
        "table": {},
        "address": Address(street="", number=0, kind="home"),
    }


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def test_an_enumeration_is_answered_with_the_value_that_fits():
    signature = dspy.Signature({"text": (str, dspy.InputField()), "colour": (Colour, dspy.OutputField())})
    assert answer(signature, {"text": "A red door"})["colour"] is Colour.RED


def test_numbers_to_choose_from_stay_numbers_in_json():
    signature = dspy.Signature("text -> stars: Literal[1, 2]")
    assert answer(signature, {"text": "Good"}, adapter=dspy.JSONAdapter())["stars"] == 1


def test_labels_unknown_to_the_signature_are_learnt_from_demos():
    assert label_of(QUESTION, DEMOS, signature=dspy.Signature("text -> label")) == "food"


def test_reasoning_names_the_words_that_decided():
    signature = Classify.prepend("reasoning", dspy.OutputField(), str)
    reasoning = answer(signature, {"text": QUESTION}, DEMOS)["reasoning"]
    assert reasoning == "The text has words that begin like those the prompt gives for 'food': 'bread', 'oven'."


def test_answers_at_temperature_zero_are_always_the_same():
    assert {label_of(QUESTION) for _ in range(20)} == {"food"}


def test_answers_above_temperature_zero_vary_and_favour_the_better_label():
    classifier = InContextClassifier()
    drawn = Counter(label_of(QUESTION, DEMOS, temperature=2.0, classifier=classifier) for _ in range(200))
    assert drawn["food"] > drawn["sport"] > 0


def test_the_order_of_a_label_set_changes_no_answer():
    def drawn(labels):
        classifier = InContextClassifier(3)
        signature = Classify.with_updated_fields("label", desc=f"Possible labels are {labels}")
        return [label_of(QUESTION, signature=signature, temperature=1.0, classifier=classifier) for _ in range(30)]

    assert drawn(["food", "sport"]) == drawn(["sport", "food"])


def test_the_same_seed_draws_the_same_answers_and_another_seed_others():
    def drawn(seed):
        classifier = InContextClassifier(seed)
        return [label_of("Zzz", temperature=1.0, classifier=classifier) for _ in range(40)]

    assert drawn(1) == drawn(1) != drawn(2)


def test_threads_draw_the_same_answers_in_some_order():
    def drawn(threads):
        classifier = InContextClassifier()
        with ThreadPoolExecutor(threads) as pool:
            return Counter(pool.map(lambda _: label_of("Zzz", temperature=1.0, classifier=classifier), range(64)))

    assert drawn(1) == drawn(8)


def test_a_copy_goes_on_drawing_and_a_pickle_starts_again():
    classifier = InContextClassifier(5)
    assert copy.deepcopy(classifier) is classifier
    assert pickle.loads(pickle.dumps(classifier)).seed == 5


def test_feedback_on_trajectories_becomes_advice_that_the_classifier_can_read():
    inputs = dict.fromkeys(OfferFeedback.input_fields, "{}")
    inputs |= {
        "module_names": json.dumps(["self"]),
        "program_inputs": json.dumps({"text": "The keeper saved the penalty, and the keeper smiled."}),
        "oracle_metadata": json.dumps({"label": "sport"}),
    }
    found = answer(OfferFeedback, inputs)
    assert found["module_advice"] == {
        "self": "Texts with words like 'keeper', 'penalty', 'smiled', 'saved' are 'sport'."
    }
    advised = Classify.with_instructions(found["module_advice"]["self"])
    assert label_of("A penalty at last", signature=advised) == "sport"


def test_feedback_without_a_label_becomes_honest_advice():
    inputs = dict.fromkeys(OfferFeedback.input_fields, "") | {"module_names": '["a", "b"]'}
    assert set(answer(OfferFeedback, inputs)["module_advice"]) == {"a", "b"}


def test_a_proposed_instruction_is_the_given_one():
    signature = dspy.Signature("basic_instruction -> proposed_instruction, proposed_prefix_for_output_field")
    assert answer(signature, {"basic_instruction": "Be kind."})["proposed_instruction"] == "Be kind."


def test_the_best_attempted_instruction_is_proposed_again():
    attempts = [
        "Instruction #1: Guess.",
        "Resulting Score #1: 1",
        "Instruction #2: Think.",
        "Resulting Score #2: 2",
    ]
    signature = dspy.Signature("attempted_instructions -> proposed_instruction")
    assert answer(signature, {"attempted_instructions": attempts})["proposed_instruction"] == "Think."


def test_reflection_adds_what_feedback_teaches_to_the_instruction_between_fences():
    prompt = (
        "I provided these instructions:\n```\nClassify.\n```\nExamples:\n```\n# Example 1\n## Inputs\n### text\n"
        "Bread and butter\n\n## Generated Outputs\n### label\nsport\n\n## Feedback\nThe right label is 'food'.\n```\n"
        "Write a new instruction within ``` blocks."
    )
    found = InContextClassifier().complete([{"role": "user", "content": prompt}])
    assert found == "```\nClassify.\nTexts with words like 'butter', 'bread' are 'food'.\n```"


def test_reflection_through_a_signature_teaches_the_same():
    signature = dspy.Signature("current_instruction, examples_with_feedback: list[dict[str, str]] -> new_instruction")
    examples = [{"Inputs": {"text": "Bread and butter"}, "Feedback": "The correct label is 'food'."}]
    found = answer(signature, {"current_instruction": "Classify.", "examples_with_feedback": examples})
    assert found["new_instruction"] == "Classify.\nTexts with words like 'butter', 'bread' are 'food'."


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{}],
        [None],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url"}, "text", None]}],
        [{"role": "user", "content": "Who are you?"}],
        [{"role": "user", "content": "```\n```"}],
    ],
)
def test_a_prompt_without_fields_is_answered_with_who_is_speaking(messages):
    assert InContextClassifier().complete(messages, 1.0) == INTRODUCTION


def test_no_damaged_prompt_makes_it_fail():
    chance = random.Random(0)
    adapters = [dspy.ChatAdapter(), dspy.JSONAdapter()]
    prompts = [adapter.format(Everything, [], {"text": "a 'b' {\"c\": [1]} \ud800"}) for adapter in adapters]
    prompts += [adapter.format(Classify, DEMOS, {"text": "x"}) for adapter in adapters]
    classifier = InContextClassifier()
    for _ in range(400):
        messages = [dict(message) for message in chance.choice(prompts)]
        for message in messages:
            start, end = sorted(chance.choices(range(len(message["content"]) + 1), k=2))
            message["content"] = message["content"][:start] + message["content"][end:]
        assert isinstance(classifier.complete(messages, chance.choice([0.0, 0.01, 1.0, None])), str)


def test_an_answer_with_ten_demos_takes_a_few_milliseconds():
    messages = dspy.ChatAdapter().format(Classify, DEMOS * 5, {"text": QUESTION})
    classifier = InContextClassifier()
    classifier.complete(messages)
    start = time.perf_counter()
    for _ in range(50):
        classifier.complete(messages)
    assert (time.perf_counter() - start) / 50 < 0.01

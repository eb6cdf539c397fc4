"""Prompts are read back as DSPy's own adapters write them."""

from typing import Literal

import dspy
import pytest

from mlflow_dspy_plugin.quickstart.fields import labels_in
from mlflow_dspy_plugin.quickstart.prompt import Demo, read_prompt

ADAPTERS = [dspy.ChatAdapter(), dspy.JSONAdapter()]


class Sort(dspy.Signature):
    """Sort the mail.

    Look at the subject first.
    """

    subject: str = dspy.InputField(desc="one line")
    body: str = dspy.InputField()
    reasoning: str = dspy.OutputField()
    folder: str = dspy.OutputField(desc="One of the folders {'work', \"mum's\"}, nothing else")
    urgency: Literal["low", "very high"] = dspy.OutputField()
    spam: bool = dspy.OutputField()
    tags: list[str] = dspy.OutputField()


QUESTION = {"subject": "Hello", "body": "Two lines\nof text"}
ANSWER = {"reasoning": "Why not", "folder": "work", "urgency": "low", "spam": False, "tags": ["new"]}


def prompt_of(adapter, demos=(), inputs=QUESTION):
    return read_prompt(adapter.format(Sort, list(demos), inputs))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=["chat", "json"])
class TestPromptOfAnAdapter:
    def test_names_the_output_fields_in_order_with_their_types(self, adapter):
        found = [(field.name, field.type) for field in prompt_of(adapter).outputs]
        assert found == [
            ("reasoning", "str"),
            ("folder", "str"),
            ("urgency", "Literal['low', 'very high']"),
            ("spam", "bool"),
            ("tags", "list[str]"),
        ]

    def test_gives_the_labels_of_types_and_descriptions_sorted(self, adapter):
        labels = {field.name: field.labels for field in prompt_of(adapter).outputs}
        assert labels == {
            "reasoning": (),
            "folder": ("mum's", "work"),
            "urgency": ("low", "very high"),
            "spam": ("False", "True"),
            "tags": (),
        }

    def test_gives_the_question_without_the_request_that_follows_it(self, adapter):
        assert prompt_of(adapter).question == QUESTION

    def test_gives_the_instruction_as_it_was_written(self, adapter):
        assert prompt_of(adapter).instruction == "Sort the mail.\n\nLook at the subject first."

    def test_gives_the_demos_as_texts(self, adapter):
        outputs = {"reasoning": "Why not", "folder": "work", "urgency": "low", "spam": "False"}
        (demo,) = prompt_of(adapter, [{**QUESTION, **ANSWER}]).demos
        assert demo.inputs == QUESTION
        assert {name: demo.outputs[name] for name in outputs} == outputs

    def test_keeps_a_header_of_no_known_field_as_text(self, adapter):
        text = "Before\n[[ ## folder ## ]]\nafter"
        assert prompt_of(adapter, inputs={"subject": "Hello", "body": text}).question["body"] == text

    def test_has_a_valid_value_for_a_list(self, adapter):
        assert prompt_of(adapter).outputs[-1].empty_value() == []


def test_only_the_json_adapter_asks_for_json():
    assert [prompt_of(adapter).as_json for adapter in ADAPTERS] == [False, True]


def test_content_in_parts_reads_like_plain_content():
    messages = ADAPTERS[0].format(Sort, [], QUESTION)
    parts = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in messages]
    assert read_prompt(parts) == read_prompt(messages)


def test_a_bare_prompt_has_no_output_fields():
    prompt = read_prompt([{"role": "user", "content": "Hello?"}])
    assert (prompt.outputs, prompt.demos, prompt.last_message) == ((), (), "Hello?")


def test_the_text_of_a_demo_is_all_of_its_inputs():
    assert Demo({"a": "one", "b": "two"}, {}).text == "one\ntwo"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Possible labels are {'b', 'a'}", ["b", "a"]),
        ("one of ['x (y)', \"it's\"]", ["x (y)", "it's"]),
        ("('a', 'b',)", ["a", "b"]),
        ("the 'title' of {name}", []),
        ("['lonely']", []),
        ("", []),
    ],
)
def test_labels_are_read_from_any_written_collection_of_two_or_more(text, labels):
    assert labels_in(text) == labels

"""Examples as records of `mlflow.genai.datasets`, in a real store and back."""

import datetime

import dspy
import mlflow
import mlflow.genai.datasets
import pytest

from mlflow_dspy_plugin.errors import DatasetError, SecretError

EXAMPLES = [
    dspy.Example(question="a", answer="b", score=1.5).with_inputs("question"),
    dspy.Example(question={"nested": [1, None, True]}, answer=["x"]).with_inputs("question"),
    dspy.Example(image=dspy.Image(url="https://example.org/a.png"), day=datetime.date(2026, 1, 2)).with_inputs("image"),
]


def pairs(examples):
    return [(dict(each.items()), each._input_keys) for each in examples]


def test_a_record_has_the_inputs_and_the_other_fields_of_its_example():
    assert mlflow.dspy.examples_to_records(EXAMPLES[:1]) == [
        {"inputs": {"question": "a"}, "expectations": {"answer": "b", "score": 1.5}}
    ]


def test_records_give_the_same_examples():
    again = mlflow.dspy.examples_from_records(mlflow.dspy.examples_to_records(EXAMPLES))
    assert pairs(again) == pairs(EXAMPLES)


@pytest.mark.parametrize(
    "form",
    [
        lambda dataset: dataset,
        lambda dataset: dataset.to_df(),
        lambda dataset: mlflow.MlflowClient().get_dataset(dataset.dataset_id).records,
    ],
    ids=["dataset", "table", "records"],
)
def test_a_stored_dataset_gives_the_same_examples(form):
    dataset = mlflow.genai.datasets.create_dataset("questions", experiment_id="1")
    dataset.merge_records(mlflow.dspy.examples_to_records(EXAMPLES))
    stored = mlflow.genai.datasets.get_dataset(dataset_id=dataset.dataset_id)
    again = sorted(mlflow.dspy.examples_from_records(form(stored)), key=lambda each: str(sorted(each.items())))
    assert pairs(again) == pairs(sorted(EXAMPLES, key=lambda each: str(sorted(each.items()))))


def test_a_record_without_expectations_is_an_example_without_labels():
    (example,) = mlflow.dspy.examples_from_records([{"inputs": {"question": "a"}, "tags": {"x": "y"}}])
    assert pairs([example]) == [({"question": "a"}, {"question"})]


@pytest.mark.parametrize(
    "example", [dspy.Example(a=1), dspy.Example(a=1).with_inputs(), dspy.Example(a=1).with_inputs("b")]
)
def test_an_example_without_inputs_is_named(example):
    with pytest.raises(DatasetError, match="Example 2 has no inputs, which a record needs"):
        mlflow.dspy.examples_to_records([EXAMPLES[0], example])


@pytest.mark.parametrize("key", ["sk-canary-8f3a1b5c7d9e2f4a6b8c0d1e", "zebra-umbrella-cactus-8"])
def test_a_secret_is_refused_by_its_form_or_as_one_of_the_environment(key, monkeypatch):
    monkeypatch.setenv("MY_PROXY_API_KEY", "zebra-umbrella-cactus-8")
    example = dspy.Example(question="a", answer=[f"use {key}"]).with_inputs("question")
    with pytest.raises(SecretError, match="Example 2, field 'answer', holds a text that looks like a secret") as raised:
        mlflow.dspy.examples_to_records([EXAMPLES[0], example])
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    ("records", "told"),
    [
        ([{"inputs": {"a": 1}}, {"outputs": 1}], "Record 2 has no 'inputs'"),
        ([{"inputs": {"a": 1}, "expectations": {"a": 2}}], "Record 1 has 'a' among its inputs and its expectations"),
        (["text"], "Record 1 has no 'inputs'"),
        ({"inputs": {}}, "not a dict"),
        (3, "not a int"),
    ],
)
def test_what_is_no_record_is_named(records, told):
    with pytest.raises(DatasetError, match=told):
        mlflow.dspy.examples_from_records(records)

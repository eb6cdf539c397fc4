"""Examples as a dataset: logged, found again by MLflow's own means, and the same as before."""

import datetime
import json
import re
import shutil
import tracemalloc
from pathlib import Path

import dspy
import mlflow
import numpy as np
import pydantic
import pytest

from mlflow_dspy_plugin.errors import DatasetError, SecretError
from mlflow_dspy_plugin.genai.dataset_source import DspyDatasetSource
from tests.genai.kinds import Address, Mood, Point

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# Put together here, so that it stands nowhere else.
KEY = "-".join(["sk", "canary0f9e8d7c6b5a4938271605f4e3d2c1b0a9"])

FORMLESS = "-".join(["zebra", "umbrella", "cactus", "8"])
HOLDING = [
    lambda key: f"use {key}",
    lambda key: {"deep": [key]},
    lambda key: {key: 1},
    lambda key: Address(street=key),
    lambda key: (key,),
]


def question(number, **more):
    return dspy.Example(question=f"What is {number}?", answer=str(number), **more).with_inputs("question")


def logged(dataset, context=None):
    """What a run has of a dataset after `mlflow.log_input`."""
    with mlflow.start_run() as run:
        mlflow.log_input(dataset, context=context)
    return mlflow.get_run(run.info.run_id)


def loaded(run):
    (given,) = run.inputs.dataset_inputs
    return mlflow.data.get_source(given).load()


def everything(example):
    return type(example), dict(example.items(include_dspy=True)), example._input_keys


def test_examples_come_back_from_the_run_that_they_were_logged_to():
    examples = [question(number) for number in range(3)]
    run = logged(mlflow.data.from_dspy(examples, name="sums"), context="training")
    (given,) = run.inputs.dataset_inputs
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]
    assert (given.dataset.name, given.dataset.source_type) == ("sums", "dspy")
    assert json.loads(given.dataset.schema)["mlflow_colspec"] == [
        {"type": "string", "name": "question", "required": True},
        {"type": "string", "name": "answer", "required": True},
    ]
    assert json.loads(given.dataset.profile) == {"num_rows": 3, "input_keys": ["question"]}
    assert [everything(each) for each in loaded(run)] == [everything(each) for each in examples]


def test_the_rows_are_records_one_a_line():
    run = logged(mlflow.data.from_dspy([question(1)], name="my data: 1/2", digest="v1"))
    path = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/datasets/my_data_1_2-v1.jsonl")
    assert Path(path).read_text() == '{"inputs": {"question": "What is 1?"}, "expectations": {"answer": "1"}}\n'


@pytest.mark.parametrize(
    "example",
    [
        dspy.Example(a=1),
        dspy.Example(),
        dspy.Example(a=1).with_inputs(),
        dspy.Example(a=1).with_inputs("b"),
        dspy.Example(b=1, a=2, c=3).with_inputs("a"),
        dspy.Example({"base": "text", "inputs": {}, "items": [1]}).with_inputs("base"),
        dspy.Example(a=1, dspy_uuid="4", dspy_split="train").with_inputs("a"),
        dspy.Example(image=dspy.Image(url=PNG)).with_inputs("image"),
        dspy.Example(history=dspy.History(messages=[{"question": "a", "answer": "b"}])),
        dspy.Example(day=datetime.date(2026, 1, 2), at=datetime.datetime(2026, 1, 2, 3), wait=datetime.timedelta(1)),
        dspy.Example(some={1, 2}, pair=(1, "a"), raw=b"\0\1", keys={1: 2}, odd={"$": "list", "items": []}),
        dspy.Example(mood=Mood.GOOD, home=Address(street="a"), point=Point(1, 2.5), by=[{"mood": Mood.BAD}]),
        dspy.Example(inner=dspy.Example(a=1).with_inputs("a"), nothing=None, nested=[[1], {"a": [True, 0.5]}]),
        dspy.Example(text='half \ud800, "quoted"\n\u2028 line', name="é"),
        dspy.Example(huge=10**40, small=1e-300, endless=float("inf")),
    ],
    ids=lambda example: ",".join(example.keys()) or "none",
)
def test_an_example_comes_back_exactly(example):
    (again,) = loaded(logged(mlflow.data.from_dspy([example])))
    assert everything(again) == everything(example)
    assert list(again.keys()) == list(example.keys())


def test_arrays_come_back():
    (again,) = loaded(logged(mlflow.data.from_dspy([dspy.Example(vector=np.arange(3, dtype="float32"))])))
    assert again.vector.dtype == np.float32 and again.vector.tolist() == [0, 1, 2]


def test_the_digest_depends_on_what_the_examples_say_and_on_nothing_else():
    def digest(*examples):
        return mlflow.data.from_dspy(examples).digest

    first = dspy.Example(a=1, b={"x": 1, "y": 2}).with_inputs("a")
    same = dspy.Example(b={"y": 2, "x": 1}, a=1, dspy_uuid="random").with_inputs("a")
    assert digest(first) == digest(same) and len(digest(first)) == 32
    others = [
        dspy.Example(a=1, b={"x": 1, "y": 2}).with_inputs("a", "b"),
        dspy.Example(a=1, b={"x": 1, "y": 2}),
        dspy.Example(a="1", b={"x": 1, "y": 2}).with_inputs("a"),
        dspy.Example(a=1).with_inputs("a"),
        dspy.Example(a=1, b=dspy.Image(url=PNG)).with_inputs("a"),
    ]
    assert len({digest(each) for each in [first, *others]}) == 6
    assert digest(first, others[0]) != digest(others[0], first)


@pytest.mark.parametrize(
    "pair",
    [
        [np.arange(20_000), np.where(np.arange(20_000) == 10_000, 7, np.arange(20_000))],
        [{1: "a"}, {"1": "a"}],
        [Point(1, 2), {"x": 1, "y": 2}],
        [b"\0\1\xff", b"\0\2\xff"],
        [Address(street="x" * 300_000 + " a"), Address(street="x" * 300_000 + " b")],
    ],
    ids=["arrays", "keys", "objects", "bytes", "texts"],
)
def test_values_that_are_shown_alike_have_digests_of_their_own(pair):
    assert len({mlflow.data.from_dspy([dspy.Example(a=each)]).digest for each in pair}) == 2


def test_the_digest_begins_with_that_of_the_same_examples_in_an_optimizers_run():
    examples = [question(number) for number in range(3)]
    mlflow.dspy.autolog(log_evals=True)
    from tests.fakes.scripted import scripted_lm

    dspy.configure(lm=scripted_lm({"answer": "1"}))
    evaluate = dspy.Evaluate(devset=examples, metric=lambda example, prediction, trace=None: True, num_threads=1)
    evaluate(dspy.Predict("question -> answer"))
    mlflow.dspy.autolog(disable=True)
    (run,) = mlflow.search_runs(output_format="list")
    (given,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert mlflow.data.from_dspy(examples).digest.startswith(given.dataset.digest)


def test_fields_that_are_mixed_are_told_in_the_schema():
    dataset = mlflow.data.from_dspy(
        [
            dspy.Example(a=1, b="x", c=[1]).with_inputs("a"),
            dspy.Example(a=1.5, b=2, c=[0.5, 1], d=None),
            dspy.Example(a=2, b="x", c=[]),
        ]
    )
    assert [(each["name"], each["type"], each["required"]) for each in dataset.schema.to_dict()] == [
        ("a", "double", True),
        ("b", "any", True),
        ("c", "any", True),
        ("d", "any", False),
    ]
    assert dataset.profile == {"num_rows": 3, "input_keys": ["a"], "num_without_inputs": 2}
    assert len(loaded(logged(dataset))) == 3


def test_numbers_and_texts_of_a_table_are_told_as_such_in_the_schema():
    row = {"a": np.int64(1), "b": np.float32(1), "c": np.str_("x"), "d": np.bool_(True), "e": [np.int64(1)]}
    schema = mlflow.data.from_dspy([dspy.Example(row)]).schema.to_dict()
    assert [each["type"] for each in schema] == ["long", "double", "string", "boolean", "array"]


def test_very_many_fields_leave_a_schema_that_the_store_takes():
    run = logged(mlflow.data.from_dspy([dspy.Example({f"f{n}": n}) for n in range(3_000)]))
    (given,) = run.inputs.dataset_inputs
    assert len(json.loads(given.dataset.schema)["mlflow_colspec"]) == 1_000
    assert json.loads(given.dataset.profile)["num_fields_beyond_schema"] == 2_000
    assert len(loaded(run)) == 3_000


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"question": "a dict"}, "Example 2 is a dict, and no dspy.Example"),
        (dspy.Example(a=lambda: 1), "Example 2, field 'a' is a function that cannot be written as data"),
        (dspy.Example(a=object()), "Example 2, field 'a' is a object that cannot be written"),
        (dspy.Example(a=open), "Example 2, field 'a' is a builtin_function_or_method that cannot be written"),
        (dspy.Example(a=[{"b": Path.cwd}]), "Example 2, field 'a' is a list that cannot be written"),
        (dspy.Example({1: 2}), "Example 2 cannot be read .*names of text"),
        (dspy.Example(a=1).with_inputs("a", 1), "Example 2 has inputs whose names are no text"),
    ],
)
def test_what_cannot_be_written_is_named_or_left_out_and_counted(bad, told):
    examples = [question(1), bad, question(3)]
    with pytest.raises(DatasetError, match=told):
        mlflow.data.from_dspy(examples)
    dataset = mlflow.data.from_dspy(examples, on_error="skip")
    assert dataset.profile == {"num_rows": 2, "input_keys": ["question"], "num_skipped": 1}
    assert loaded(logged(dataset)) == [examples[0], examples[2]]


def test_a_class_with_code_of_its_own_is_refused():
    class Local(pydantic.BaseModel):
        a: str

        def shout(self):
            return self.a.upper()

    with pytest.raises(DatasetError, match="field 'a' is a Local that cannot be written"):
        mlflow.data.from_dspy([dspy.Example(a=Local(a="x"))])


@pytest.mark.parametrize("known_by", ["its form", "the environment"])
@pytest.mark.parametrize("holding", HOLDING)
def test_a_secret_is_refused_and_reaches_no_file(holding, known_by, store, monkeypatch):
    key = KEY if known_by == "its form" else FORMLESS
    monkeypatch.setenv("MY_PROXY_API_KEY", FORMLESS)
    value = holding(key)
    examples = [question(1), dspy.Example(a=value)]
    with pytest.raises(SecretError, match="Example 2, field 'a', holds a text that looks like a secret") as raised:
        mlflow.data.from_dspy(examples)
    assert key not in str(raised.value)
    assert len(loaded(logged(mlflow.data.from_dspy(examples, on_error="skip")))) == 1
    assert not [path for path in store.parent.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"examples": dspy.Example(a=1)}, "not a Example"),
        ({"examples": None}, "not a NoneType"),
        ({"examples": [], "digest": "x" * 37}, "A digest is a text of 1 to 36"),
        ({"examples": [], "name": "x" * 501}, "a text of 1 to 500"),
        ({"examples": [], "on_error": "ignore"}, "on_error is 'raise' or 'skip'"),
    ],
)
def test_arguments_that_cannot_be_used_are_told(arguments, told):
    with pytest.raises(DatasetError, match=told):
        mlflow.data.from_dspy(**arguments)


def test_no_examples_are_a_dataset_too():
    assert loaded(logged(mlflow.data.from_dspy([]))) == []


def test_a_generator_is_read_once_and_can_be_iterated_from_then_on():
    dataset = mlflow.data.from_dspy(question(number) for number in range(5))
    assert list(dataset) == list(dataset) == dataset.examples == [question(number) for number in range(5)]
    assert loaded(logged(dataset)) == dataset.examples


def test_a_dataset_that_nobody_keeps_can_be_iterated():
    assert [each.answer for each in mlflow.data.from_dspy([question(1), question(2)])] == ["1", "2"]


def test_what_is_logged_is_what_was_given():
    examples = [question(1)]
    dataset = mlflow.data.from_dspy(examples)
    examples[0].answer = "changed"
    assert loaded(logged(dataset)) == [question(1)]


def test_the_same_dataset_in_two_runs_is_one_dataset_with_rows():
    dataset = mlflow.data.from_dspy([question(1)], name="same")
    runs = [logged(dataset), logged(mlflow.data.from_dspy([question(1)], name="same"))]
    assert [loaded(run) for run in runs] == [[question(1)]] * 2


def test_rows_that_went_with_an_earlier_run_of_the_same_dataset_are_told_to_be_in_the_later():
    earlier, later = (logged(mlflow.data.from_dspy([question(1)], name="same")) for _ in range(2))
    shutil.rmtree(earlier.info.artifact_uri.removeprefix("file://"))
    (given,) = later.inputs.dataset_inputs
    gone = mlflow.data.get_source(given)
    with pytest.raises(DatasetError, match=f"cannot be had from runs:/{earlier.info.run_id}/datasets/same") as raised:
        gone.load()
    told = re.search(r"DspyDatasetSource\('(runs:/<its id>/.*)'\)\.load\(\)", str(raised.value))[1]
    assert DspyDatasetSource(told.replace("<its id>", later.info.run_id)).load() == [question(1)]


def test_rows_of_a_run_that_is_not_there_are_told():
    with pytest.raises(DatasetError, match="cannot be had from runs:/0+/datasets/x.jsonl .*not found"):
        DspyDatasetSource(f"runs:/{'0' * 32}/datasets/x.jsonl").load()


@pytest.mark.parametrize(
    "more",
    [lambda number: {"text": "x" * 1_000}, lambda number: {f"{number}" * 40: number}],
    ids=["texts", "names"],
)
def test_memory_does_not_grow_with_the_rows(more):
    def rows(count):
        for number in range(count):
            fields = {"question": f"What is {number}?", **more(number)}
            yield dspy.Example(fields).with_inputs(*fields)

    mlflow.data.from_dspy(rows(10))
    peaks = []
    # What is kept of names, is kept of the first thousand.
    for count in (1_000, 3_000):
        tracemalloc.start()
        dataset = mlflow.data.from_dspy(rows(count))
        assert sum(1 for _ in dataset) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Two thousand rows more are 2 MB more, and their names 600 kB.
    assert peaks[1] - peaks[0] < 300_000


def test_damaged_rows_are_named():
    run = logged(mlflow.data.from_dspy([question(1), question(2)]))
    (path,) = Path(run.info.artifact_uri.removeprefix("file://")).glob("datasets/*.jsonl")
    for damage, told in (
        ("{", "Row 2 of runs:/.* is damaged"),
        ("[]", "Row 2 of runs:/.* has no 'inputs'"),
        ('{"inputs": {"a": 1}, "expectations": {"a": 2}}', "Row 2 of .* has 'a' among its inputs and its expectations"),
        ('{"inputs": {"a": {"$": "function", "path": "os:system"}}}', "Row 2 of .*, field 'a' cannot be made here"),
        ('{"inputs": {"a": {"$": "function", "path": "dspy:Predict"}}}', "Row 2 of .*, field 'a' cannot be made here"),
        (
            '{"inputs": {"a": {"$": "object", "class": "antigravity_of_mine:X", "state": {}}}}',
            "Import antigravity_of_mine first",
        ),
    ):
        path.write_text(path.read_text().splitlines()[0] + "\n" + damage + "\n")
        with pytest.raises(DatasetError, match=told):
            loaded(run)


def test_rows_of_a_users_class_are_refused_where_only_data_is_trusted(monkeypatch):
    run = logged(mlflow.data.from_dspy([dspy.Example(mood=Mood.GOOD)]))
    monkeypatch.setenv("MLFLOW_DSPY_TRUST", "data")
    with pytest.raises(DatasetError, match="is of the class tests.genai.kinds:Mood, and MLFLOW_DSPY_TRUST is 'data'"):
        loaded(run)


def test_a_newer_form_of_rows_is_refused():
    with pytest.raises(DatasetError, match="of version 2"):
        DspyDatasetSource.from_json('{"uri": "runs:/1/a.jsonl", "format": 2}').load()


def test_it_has_the_forms_that_mlflows_evaluation_asks_for():
    dataset = mlflow.data.from_dspy([question(number) for number in range(3)], name="three")
    given = dataset.to_evaluation_dataset()
    assert (dataset.targets, given.name, given.labels_data.tolist()) == ("answer", "three", ["0", "1", "2"])
    assert list(given.features_data.columns) == ["question"]
    inputs, outputs = dataset.to_pyfunc().inputs, dataset.to_pyfunc().outputs
    assert list(inputs.columns) == ["question"] and outputs.tolist() == ["0", "1", "2"]
    unlabelled = mlflow.data.from_dspy([dspy.Example(a=1).with_inputs("a")])
    assert unlabelled.targets is None and unlabelled.to_pyfunc().outputs is None

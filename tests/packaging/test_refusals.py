"""What cannot be saved is refused with what was given, what is wrong and what to do; nothing is left behind."""

import threading

import dspy
import mlflow
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from mlflow_dspy_plugin.errors import InputError, ModelFolderError, ProgramError, SecretError
from tests.packaging.programs import QA


def locked(holder: object) -> QA:
    program = QA()
    program.lock = holder
    return program


class Holder:
    def __init__(self):
        self.inner = [threading.Lock()]


def two_inputs() -> dspy.Module:
    return dspy.Predict("question, context -> answer")


# What is given, the error, and what the error has to say.
REFUSED = {
    "class": (
        {"model": QA},
        ProgramError,
        "saves a dspy.Module, but was given .*It is the class; give an instance",
    ),
    "none": ({"model": None}, ProgramError, "was given NoneType. Build your program as a subclass"),
    "function": ({"model": len}, ProgramError, "was given builtin_function_or_method"),
    "signature": ({"model": dspy.Signature("a -> b")}, ProgramError, "It is a signature; give dspy.Predict"),
    "path": (
        {"model": "code.py"},
        ProgramError,
        "There is no script 'code.py'. Give a dspy.Module, or the path of a Python file that calls",
    ),
    "task": (
        {"task": "llm/v1/poem"},
        ProgramError,
        "The task 'llm/v1/poem' is unknown. Give None, or one of .*chat",
    ),
    "signature of outputs": (
        {"signature": ModelSignature(outputs=Schema([ColSpec("string")]))},
        ProgramError,
        "has no inputs.* at least one field. Leave the signature out",
    ),
    "unknown field": (
        {"input_example": {"query": "x"}},
        InputError,
        r"input example has the fields \['query'\], but the program takes \['question'\] "
        r"\(unknown: query; missing: question\). Give a dict with these fields",
    ),
    "field too many": ({"input_example": {"question": "x", "k": 1}}, InputError, r"\(unknown: k\)"),
    "field missing": (
        {"model": two_inputs(), "input_example": {"question": "x"}},
        InputError,
        r"\(missing: context\)",
    ),
    "field of a table": ({"input_example": pd.DataFrame([{"q": "x"}])}, InputError, "unknown: q"),
    "example with params": ({"input_example": ({"q": "x"}, {"n": 1})}, InputError, "unknown: q"),
    "list of one": ({"input_example": [{"q": "x"}]}, InputError, "unknown: q"),
    "dspy example": ({"input_example": dspy.Example(q="x").with_inputs("q")}, InputError, "unknown: q"),
    "rows": (
        {"input_example": pd.DataFrame({"question": ["a", "b"]})},
        InputError,
        "DataFrame of 2 rows. Give one",
    ),
    "no row": (
        {"input_example": pd.DataFrame({"question": []})},
        InputError,
        "DataFrame of 0 rows. Give one",
    ),
    "list of rows": ({"input_example": [{"question": "a"}, {"question": "b"}]}, InputError, "2 rows"),
    "text for two": (
        {"model": two_inputs(), "input_example": "x"},
        InputError,
        "single value, but the program takes .*Give a dict with these fields",
    ),
    "lock": ({"model": locked(threading.Lock())}, ProgramError, "QA.lock: .*lock.*Remove the object"),
    "lock inside": ({"model": locked(Holder())}, ProgramError, "Holder.inner: cannot pickle '_thread.lock'"),
    "generator": ({"model": locked(i for i in "a")}, ProgramError, "QA.lock: .*generator"),
    "secret": (
        {"model": locked(lambda key="sk-proj-4c0ffee7f3a4c0ffee": key)},
        SecretError,
        "Read it from the",
    ),
}


def test_nothing_refused_leaves_a_folder(tmp_path):
    for name, (given, error, words) in REFUSED.items():
        with pytest.raises(error, match=words):
            mlflow.dspy.save_model(**{"model": QA(), "path": tmp_path / "model", **given})
        assert not (tmp_path / "model").exists(), name


def test_nothing_refused_reaches_the_tracking_store(tmp_path):
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        for given, error, words in REFUSED.values():
            arguments = {"dspy_model": QA(), "name": "model", "registered_model_name": "registered", **given}
            arguments["dspy_model"] = arguments.pop("model", arguments["dspy_model"])
            with pytest.raises(error, match=words):
                mlflow.dspy.log_model(**arguments)
        for bad in ("a/b", "a:b", ""):
            with pytest.raises(ProgramError, match=f"registered_model_name '{bad}' is none that MLflow can"):
                mlflow.dspy.log_model(QA(), name="model", registered_model_name=bad)
        with pytest.raises(ProgramError, match="registered_model_name 5 is none that MLflow can"):
            mlflow.dspy.log_model(QA(), name="model", registered_model_name=5)
        with pytest.raises(mlflow.MlflowException, match="nope.* not found"):
            mlflow.dspy.log_model(QA(), name="model", prompts=["prompts:/nope/1"])
        with pytest.raises(mlflow.MlflowException, match="(?i)model name"):
            mlflow.dspy.log_model(QA(), name="a/b:c")
    assert client.list_artifacts(run.info.run_id) == []
    assert mlflow.search_logged_models(output_format="list") == []
    assert client.search_registered_models() == []
    assert not client.get_run(run.info.run_id).outputs.model_outputs


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_already_there_is_never_touched(kind, tmp_path):
    path = tmp_path / "model"
    mine = path / "mine.txt" if kind == "folder" else path
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(ModelFolderError, match="model already exists and is not empty. Give another one"):
        mlflow.dspy.save_model(QA(), path)
    assert mine.read_text() == "mine"


def test_an_empty_folder_of_the_user_s_stays_when_saving_fails(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(ProgramError, match="cannot be pickled"):
        mlflow.dspy.save_model(locked(threading.Lock()), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("path", ["nowhere.py", "nowhere"])
def test_code_paths_that_do_not_exist_leave_no_folder(path, tmp_path):
    with pytest.raises((mlflow.MlflowException, OSError), match="nowhere"):
        mlflow.dspy.save_model(QA(), tmp_path / "model", code_paths=[path])
    assert not (tmp_path / "model").exists()

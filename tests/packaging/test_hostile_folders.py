"""Whoever made a folder, the environment decides what of it is run; what is refused has touched nothing."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.packaging.inspection import inspect_model
from mlflow_dspy_plugin.packaging.load import read_folder
from tests.needs.own_modules import written
from tests.packaging.hostile import NEEDS, PICKLED, check_what_was_told, signed
from tests.packaging.no_store import store  # noqa: F401


@pytest.mark.parametrize("trusted", ["data", "code", "pickle", " CODE ", ""])
@pytest.mark.parametrize("name", [*NEEDS, *PICKLED])
def test_a_model_is_loaded_only_where_its_kind_is_trusted(name, trusted, folders, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_TRUST", trusted)
    monkeypatch.setattr(sys, "path", list(sys.path))
    order = ["data", "code", "pickle"]
    needed, given = NEEDS.get(name, "pickle"), trusted.strip().lower() or "pickle"
    path, modules = list(sys.path), set(sys.modules)
    if order.index(given) < order.index(needed):
        with pytest.raises(
            ModelFolderError, match=f"MLFLOW_DSPY_TRUST is '{given}' here.*MLFLOW_DSPY_TRUST to '{needed}'"
        ):
            mlflow.dspy.load_model(str(folders[name]))
        assert (sys.path, set(sys.modules)) == (path, modules)
    elif not name.startswith("core"):
        assert isinstance(read_folder(folders[name]).program, dspy.Module)
    assert inspect_model(str(folders[name])).kind == needed


def test_an_unknown_word_trusts_nothing(folders, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_TRUST", "everything")
    for folder in folders.values():
        with pytest.raises(
            ModelFolderError, match="MLFLOW_DSPY_TRUST is 'everything'. Set it to one of data, code, pickle"
        ):
            mlflow.dspy.load_model(str(folder))


def test_where_pickles_are_forbidden_plain_data_and_code_load(folders, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in NEEDS:
        assert isinstance(mlflow.dspy.load_model(str(folders[name]), configure=False), dspy.Module)
    for name in PICKLED:
        with pytest.raises(ModelFolderError, match="is pickled, and MLFLOW_ALLOW_PICKLE_DESERIALIZATION is false"):
            mlflow.dspy.load_model(str(folders[name]))


def told_of(folder: Path) -> tuple[str, list[str]]:
    try:
        report = inspect_model(str(folder))
    except ModelFolderError as error:
        return type(error).__name__, []
    return report.kind, list(report.names)


def test_looking_at_models_imports_nothing_of_theirs(strangers):
    """Nor of what they name where that is not imported yet: `integration/test_inspection.py`."""
    modules, path = set(sys.modules), list(sys.path)
    check_what_was_told({name: told_of(folder) for name, folder in strangers.items()})
    assert (set(sys.modules), sys.path) == (modules, path)


def test_a_class_that_the_model_ships_is_no_part_of_a_program_by_that_alone(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "model"
    shutil.copytree(folders["data"], folder)
    text = "import pathlib\nclass Held:\n    def __setstate__(self, state): pathlib.Path('run').touch()\n"
    written(folder / "code", {"hostile_other.py": text})
    held = {"$": "object", "class": "hostile_other:Held", "state": {}}
    signed(folder, {"definitions": [], "program": held, "settings": {}}, code="code")
    with pytest.raises(ModelFolderError, match="names 'hostile_other:Held', which is no module.*tampered with"):
        mlflow.dspy.load_model(str(folder))
    assert not Path("run").exists()


def ml_model(data: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / "MLmodel").write_bytes(data)


WHOLE = {"definitions": [], "program": {"$": "object", "class": "dspy:Predict", "state": {}}, "settings": {}}
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "deep YAML": (ml_model(b"flavors: " + b"[" * 10**4), "MLmodel file in .* cannot be read"),
    "deep mappings in YAML": (ml_model(b"flavors: " + b"{a: " * 10**4), "MLmodel file in .* cannot be read"),
    "YAML of an object": (
        ml_model(b"flavors: {dspy: !!python/object/apply:os.system ['touch run']}"),
        "MLmodel file in .* cannot be read",
    ),
    "invalid UTF-8": (ml_model(b"flavors: \xff\xfe\xfa"), "MLmodel file in .* cannot be read"),
    "cut document": (lambda folder: signed(folder, b'{"definitions": [], "pro'), "it is no JSON"),
    "deep document": (lambda folder: signed(folder, b"[" * 10**6), "it is no JSON"),
    "future format": (lambda folder: signed(folder, WHOLE, format=99), "Upgrade it: pip install"),
    "unknown serialization": (lambda folder: signed(folder, WHOLE, serialization_format="exec"), "is damaged"),
    "serialization a list": (lambda folder: signed(folder, WHOLE, serialization_format=[1]), "is damaged"),
    "document outside": (lambda folder: signed(folder, WHOLE, model_path="../x.json"), "lies outside of it"),
    "document a folder": (lambda folder: signed(folder, WHOLE, model_path="data"), "is damaged"),
    "model path a list": (lambda folder: signed(folder, WHOLE, model_path=["data"]), "is damaged"),
    "state outside": (lambda folder: signed(folder, WHOLE, state_path="/etc/passwd"), "lies outside of it"),
    "no name of a file": (lambda folder: signed(folder, WHOLE, model_path="a\0b"), "lies outside of it"),
    "document without a digest": (lambda folder: signed(folder, WHOLE, model_path="MLmodel"), "is damaged: MLmodel"),
    "pyfunc a text": (ml_model(b"flavors: {dspy: {format: 2}, python_function: text}"), "does not say what it holds"),
    "digests by numbers": (lambda folder: signed(folder, WHOLE, digests={1: "x"}), "does not say what it holds"),
    "code a list": (lambda folder: signed(folder, WHOLE, code=["code"]), "is damaged"),
    "no program": (lambda folder: signed(folder, {}), "it has no program"),
    "modules a list": (lambda folder: signed(folder, WHOLE, modules=["os"]), "is damaged"),
    "versions a text": (lambda folder: signed(folder, WHOLE, versions="1"), "is damaged"),
    "task a list": (lambda folder: signed(folder, WHOLE, inference_task=["x"]), "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_hostile_folder_is_refused_by_all_who_read_it(name, folders, tmp_path):
    damage, words = DAMAGES[name]
    folder = tmp_path / "model"
    shutil.copytree(folders["data"], folder)
    damage(folder)
    path = list(sys.path)
    for read in (mlflow.dspy.load_model, inspect_model):
        with pytest.raises(ModelFolderError, match=f"(?s){words}"):
            read(str(folder))
    assert sys.path == path
    assert not Path("run").exists()


def test_a_link_out_of_the_folder_is_not_followed(folders, tmp_path):
    folder, outside = tmp_path / "model", tmp_path / "outside.json"
    shutil.copytree(folders["data"], folder)
    (folder / "data/program.json").rename(outside)
    (folder / "data/program.json").symlink_to(outside)
    with pytest.raises(ModelFolderError, match="lies outside of it"):
        mlflow.dspy.load_model(str(folder))

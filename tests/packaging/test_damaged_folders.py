"""A folder that is no whole model of this flavor is refused before any of it is unpickled."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dspy
import mlflow
import pytest
import yaml
from mlflow.models import Model

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.packaging.load import read_folder
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import compiled

SAVED_AS = {
    "json": {},
    "pickle": {"serialization_format": "cloudpickle"},
    "dspy": {"use_dspy_model_save": True},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, Path]:
    """One model in each format."""
    root = tmp_path_factory.mktemp("saved")
    for name in SAVED_AS:
        mlflow.dspy.save_model(compiled(), root / name, **SAVED_AS[name])
    return {name: root / name for name in SAVED_AS}


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-20])


def change(name: str) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(data)

    return flip


def write(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "MLmodel").write_bytes(data)


def cut(folder: Path) -> None:
    data = (folder / "MLmodel").read_bytes()
    (folder / "MLmodel").write_bytes(data[: data.index(b"digests") + 3])


def section(**changes: object) -> Callable[[Path], None]:
    """Changes the flavor's section; None removes a key."""

    def edit(folder: Path) -> None:
        model = yaml.safe_load((folder / "MLmodel").read_text())
        merged = {**model["flavors"]["dspy"], **changes}
        model["flavors"]["dspy"] = {key: value for key, value in merged.items() if value is not None}
        (folder / "MLmodel").write_text(yaml.safe_dump(model))

    return edit


OUTSIDE = "which lies outside of it. Do not use this folder"
INCOMPLETE = "is incomplete: {} is missing. It was half written or half copied; log or download it again"
DAMAGED = "is damaged: {} is not what was saved"
UNREADABLE = "(?s)MLmodel file in .* cannot be read .*log or download the model again"
NEWER = r"has format {}, but this release of mlflow-dspy-plugin reads formats up to 2. Upgrade it: pip install -U"
DAMAGES = {
    "no MLmodel": ("pickle", delete("MLmodel"), "no complete MLflow model: it has no MLmodel file"),
    "cut MLmodel": ("pickle", cut, "(cannot be read|is damaged)"),
    "empty MLmodel": ("pickle", write(b""), UNREADABLE),
    "binary MLmodel": ("pickle", write(bytes(range(256))), UNREADABLE),
    "no YAML": ("pickle", write(b"flavors: [unclosed"), UNREADABLE),
    "YAML of another kind": ("pickle", write(b"just a text"), UNREADABLE),
    "impossible date": ("pickle", write(b"flavors: {dspy: {x: 2024-99-99}}"), UNREADABLE),
    "flavors a list": ("pickle", write(b"flavors: [dspy]"), UNREADABLE),
    "no flavors": ("pickle", write(b"flavors: {}"), "has no dspy flavor"),
    "empty section": ("pickle", write(b"flavors: {dspy: null}"), "has no dspy flavor"),
    "no program": ("pickle", delete("data/program.pkl"), INCOMPLETE.format("data/program.pkl")),
    "cut program": ("pickle", truncate("data/program.pkl"), DAMAGED.format("data/program.pkl")),
    "changed program": ("pickle", change("data/program.pkl"), DAMAGED.format("data/program.pkl")),
    "no settings": ("dspy", delete("data/settings.pkl"), INCOMPLETE.format("data/settings.pkl")),
    "changed settings": ("dspy", change("data/settings.pkl"), DAMAGED.format("data/settings.pkl")),
    "no program of dspy": (
        "dspy",
        delete("data/model/program.pkl"),
        INCOMPLETE.format("data/model/program.pkl"),
    ),
    "cut metadata of dspy": (
        "dspy",
        truncate("data/model/metadata.json"),
        DAMAGED.format("data/model/metadata.json"),
    ),
    "newer format": ("pickle", section(format=3), NEWER.format(3)),
    "format a text": ("pickle", section(format="1"), NEWER.format("'1'")),
    "format nought": ("pickle", section(format=0), NEWER.format(0)),
    "no model path": ("pickle", section(model_path=None), "does not say what it holds"),
    "no digests": ("pickle", section(digests=None), "does not say what it holds"),
    "digests a list": ("pickle", section(digests=["x"]), "does not say what it holds"),
    "path outside": ("pickle", section(model_path="../../x.pkl"), OUTSIDE),
    "absolute path": ("pickle", section(model_path="/etc/passwd"), OUTSIDE),
    "settings outside": ("dspy", section(settings_path="../x.pkl"), OUTSIDE),
    "digests outside": ("pickle", section(digests={"../x": "0"}), OUTSIDE),
    "code outside": ("pickle", section(code="../.."), OUTSIDE),
    "no code": ("pickle", section(code="code"), INCOMPLETE.format("code")),
    "core model missing": (
        "pickle",
        section(format=None, model_path="data/x.pkl"),
        INCOMPLETE.format("data/x.pkl"),
    ),
    "core model outside": ("pickle", section(format=None, model_path="../x.pkl"), OUTSIDE),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused_with_what_is_wrong_and_what_to_do(name, saved, tmp_path):
    kind, damage, words = DAMAGES[name]
    folder = tmp_path / "model"
    shutil.copytree(saved[kind], folder)
    damage(folder)
    with pytest.raises(ModelFolderError, match=words) as caught:
        mlflow.dspy.load_model(folder)
    assert str(folder) in str(caught.value)
    with pytest.raises(ModelFolderError, match=words):
        read_folder(folder)


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"garbage of no pickle", b"cnowhere_at_all\nThing\n."])
def test_a_pickle_of_mlflow_s_own_flavor_that_cannot_be_read_is_refused(data, saved, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(saved["pickle"], folder)
    section(format=None)(folder)
    (folder / "data/program.pkl").write_bytes(data)
    with pytest.raises(ModelFolderError, match="(is damaged|needs the module 'nowhere_at_all')"):
        mlflow.dspy.load_model(folder)


class Renamed:
    """Deleted by the test below after something of it was saved."""


def test_a_class_that_is_no_longer_there_is_named_with_both_releases(monkeypatch):
    program = compiled()
    program.helper = Renamed()
    mlflow.dspy.save_model(program, "model")
    monkeypatch.delitem(globals(), "Renamed")
    with pytest.raises(ModelFolderError, match=f"different here .*Renamed.* saved with dspy {dspy.__version__}"):
        mlflow.dspy.load_model("model")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ModelFolderError, match="There is no model at .*nowhere.* Give a folder that exists"):
        mlflow.dspy.load_model(tmp_path / "nowhere")


def test_a_model_of_another_flavor_is_refused_with_the_name_of_its_own():
    mlflow.pyfunc.save_model("other", python_model=lambda model_input: model_input, pip_requirements=[])
    with pytest.raises(ModelFolderError, match="has no dspy flavor; it has: python_function. Load it with"):
        mlflow.dspy.load_model("other")


@pytest.mark.parametrize("kind", ["pickle", "dspy"])
@pytest.mark.parametrize("value", ["false", "0", "False"])
def test_a_pickled_model_is_refused_where_pickle_is_forbidden(kind, value, saved, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", value)
    for load in (mlflow.dspy.load_model, mlflow.pyfunc.load_model):
        with pytest.raises(ModelFolderError, match="is pickled, and MLFLOW_ALLOW_PICKLE_DESERIALIZATION is false"):
            load(str(saved[kind]))


def test_a_refused_folder_changes_no_setting(saved, tmp_path):
    dspy.configure(lm=dspy.LM("openai/m"), adapter=dspy.JSONAdapter())
    mlflow.dspy.save_model(compiled(), "with_settings", serialization_format="cloudpickle")
    dspy.configure(lm=None, adapter=None)
    change("data/program.pkl")(Path("with_settings"))
    with pytest.raises(ModelFolderError, match="is damaged"):
        mlflow.dspy.load_model("with_settings")
    assert (dspy.settings.lm, dspy.settings.adapter) == (None, None)
    assert Model.load("with_settings").flavors["dspy"]["format"] == 2

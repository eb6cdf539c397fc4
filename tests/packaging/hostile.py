"""Models of each kind, and what somebody who means harm can make of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import dspy
import mlflow
import pytest
import yaml

from mlflow_dspy_plugin.packaging.format import digests_of
from tests.needs.own_modules import written
from tests.plain.kinds import Shouting

SCRIPT = "import dspy, mlflow\nmlflow.models.set_model(dspy.Predict('question -> answer'))\n"
OWN = "import dspy\nclass Held(dspy.Module):\n    pass\n"
GOLDEN = Path(__file__).parents[1] / "golden/core"
NEEDS = {"data": "data", "adapter": "code", "shipped": "code", "source": "code", "script": "code"}
PICKLED = ("pickle", "dspy", "core", "core of dspy")


def signed(folder: Path, document: Any, **section: Any) -> None:
    """Write plain data, with the digest that it has."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    (folder / "data/program.json").write_bytes(data)
    model = yaml.safe_load((folder / "MLmodel").read_text())
    model["flavors"]["dspy"].update({"digests": digests_of(folder), **section})
    (folder / "MLmodel").write_text(yaml.safe_dump(model))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A model of each kind."""
    root = tmp_path_factory.mktemp("models")
    program = dspy.Predict("question -> answer")
    with_adapter = dspy.Predict("question -> answer")
    with_adapter.adapter = Shouting()
    (root / "script.py").write_text(SCRIPT)
    own = written(root / "own", {"hostile_helper.py": OWN})
    plain = {"infer_code_paths": False, "pip_requirements": []}
    for name, model, options in [
        ("data", program, {}),
        ("adapter", with_adapter, {}),
        ("shipped", program, {"code_paths": [str(own / "hostile_helper.py")]}),
        ("script", str(root / "script.py"), {}),
        ("pickle", program, {"serialization_format": "cloudpickle"}),
        ("dspy", program, {"use_dspy_model_save": True}),
        ("source", program, {}),
    ]:
        mlflow.dspy.save_model(model, root / name, **plain, **options)
    # As a program of `__main__` is saved.
    source = {"name": "Held", "source": OWN.partition("\n")[2], "future_annotations": False}
    value = {"name": "dspy", "value": {"$": "module", "name": "dspy", "submodules": []}}
    held = {"$": "object", "class": ":Held", "state": {}}
    signed(root / "source", {"definitions": [value, source], "program": held, "settings": {}})
    for name, golden in [("core", "pickle"), ("core of dspy", "dspy")]:
        shutil.copytree(GOLDEN / f"3.4.1-{golden}", root / name)
    return {name: root / name for name in (*NEEDS, *PICKLED)}


@pytest.fixture
def strangers(folders, tmp_path) -> dict[str, Path]:
    """A model of each kind, and two that somebody else has signed."""
    hostile, refused = tmp_path / "hostile", tmp_path / "refused"
    shutil.copytree(folders["shipped"], hostile)
    held = {"$": "object", "class": "hostile_helper:Held", "state": {}}
    signed(hostile, {"definitions": [], "program": held, "settings": {}})
    shutil.copytree(folders["data"], refused)
    signed(refused, {"definitions": [], "program": {"$": "function", "path": "os:system"}, "settings": {}})
    return {**folders, "hostile": hostile, "refused": refused}


def check_what_was_told(told: dict[str, tuple[str, list[str]]]) -> None:
    """Whether inspecting the strangers has told of each its kind, or the error, and the names that it names."""
    kinds = {name: kind for name, (kind, _) in told.items()}
    signed_by_others = {"hostile": "code", "refused": "ModelFolderError"}
    assert kinds == {**NEEDS, **dict.fromkeys(PICKLED, "pickle"), **signed_by_others}
    assert told["hostile"][1] == ["hostile_helper:Held"]
    assert "tests.plain.kinds:Shouting" in told["adapter"][1]

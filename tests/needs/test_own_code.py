"""The user's own modules travel with the model, without being asked for, and nothing else of their folders does."""

import logging
import os
import sys
from pathlib import Path
from types import ModuleType

import mlflow
import pytest

from mlflow_dspy_plugin.errors import SecretError
from tests.needs.own_modules import program_in, written
from tests.packaging.no_store import store  # noqa: F401


def shipped(model: str = "model") -> set[str]:
    """The files of code in the model folder."""
    code = Path(model, "code")
    return {path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file()}


def sections(model: str = "model") -> list[dict]:
    """What the MLmodel file says of the flavor, and of pyfunc."""
    flavors = mlflow.models.Model.load(model).flavors
    return [flavors["dspy"], flavors["python_function"]]


def test_of_a_package_the_needed_modules_and_its_data_are_shipped(module):
    files = {
        "app/__init__.py": "",
        "app/sub/program.py": program_in("import helper"),
        "app/sub/unused.py": "",
        "app/prompts/one.txt": "Be kind.",
        "helper.py": "",
        "unused.py": "",
    }
    mlflow.dspy.save_model(module("app.sub.program", files).Program(), "model")
    assert shipped() == set(files) - {"unused.py", "app/sub/unused.py"}
    # Not of pyfunc's: MLflow would put it on `sys.path` before the model can be refused.
    assert [section.get("code") for section in sections()] == ["code", None]
    assert sections()[0]["modules"] == {"app": None, "helper": None}


def test_what_lies_in_a_package_and_is_no_code_stays_behind(module, caplog):
    kept = {"app/__init__.py": "", "app/program.py": program_in(""), "app/mlruns.txt": "", "app/venv.txt": "v"}
    left = {
        "app/.env": "A=1",
        "app/.git/config": "[core]",
        "app/__pycache__/old.cpython-39.pyc": "x",
        "app/old.pyc": "x",
        "app/mlruns/0/meta.yaml": "a: 1",
        "app/node_modules/a.js": "1",
        "app/venv/pyvenv.cfg": "home = /",
        "app/venv/lib/big.py": "",
        "app/earlier/MLmodel": "flavors: {}",
        "app/earlier/data/program.pkl": "x",
    }
    mlflow.dspy.save_model(module("app.program", {**kept, **left}).Program(), "model")
    assert shipped() == set(kept)
    assert "Not shipped" not in caplog.text


def test_large_data_and_links_stay_behind_and_one_warning_names_them(module, on_path, tmp_path, caplog):
    files = {"app/__init__.py": "", "app/program.py": program_in(""), "app/inside.txt": "i", "app/data/x.txt": "x"}
    app = on_path(files) / "app"
    (app / "data" / "big.bin").write_bytes(bytes(3_000_000))
    written(tmp_path, {"elsewhere/private.txt": "private"})
    os.symlink(tmp_path / "elsewhere", app / "folder")
    os.symlink(tmp_path / "elsewhere" / "private.txt", app / "outside.txt")
    os.symlink(app / "inside.txt", app / "alias.txt")
    with caplog.at_level(logging.WARNING, "mlflow_dspy_plugin"):
        mlflow.dspy.save_model(module("app.program", {}).Program(), "model")
    assert shipped() == {*files, "app/alias.txt"}
    (warning,) = [record.message for record in caplog.records if "Not shipped" in record.message]
    assert "app/data/big.bin (3 MB)" in warning
    assert "app/folder (a link" in warning and "app/outside.txt (a link" in warning
    assert "in a package that is installed, or with code_paths=[...]" in warning


def test_of_a_namespace_only_the_modules_that_are_needed_are_shipped(module):
    files = {
        "space/deep/program.py": program_in("from space import helper\nimport space.whole.one"),
        "space/helper.py": "",
        "space/unused.py": "",
        "space/data.txt": "x",
        "space/whole/__init__.py": "",
        "space/whole/one.py": "",
        "space/whole/two.py": "",
    }
    mlflow.dspy.save_model(module("space.deep.program", files).Program(), "model")
    assert shipped() == set(files) - {"space/unused.py", "space/data.txt", "space/whole/two.py"}
    assert sections()[0]["modules"] == {"space.deep.program": None, "space.helper": None, "space.whole": None}


def test_what_code_paths_name_is_shipped_as_it_is_and_once(module, tmp_path):
    files = {
        "app/__init__.py": "",
        "app/program.py": program_in("import helper, third"),
        "helper.py": "",
        "third.py": "",
    }
    program = module("app.program", files).Program()
    mine = written(tmp_path / "mine", {"app/__init__.py": "# mine", "app/program.py": "# mine", "helper.py": "# mine"})
    mlflow.dspy.save_model(program, "model", code_paths=[str(mine / "app"), str(mine / "helper.py")])
    assert shipped() == set(files)
    texts = {name: Path("model/code", name).read_text() for name in files}
    assert texts == {"app/__init__.py": "# mine", "app/program.py": "# mine", "helper.py": "# mine", "third.py": ""}


def test_nothing_is_shipped_where_it_is_not_wanted(module):
    program = module("program", {"program.py": program_in("")}).Program()
    mlflow.dspy.save_model(program, "model", infer_code_paths=False)
    assert not Path("model/code").exists()
    assert [section.get("code") for section in sections()] == [None, None]
    assert sections()[0]["modules"] == {"program": None}


def test_a_package_may_hold_the_folder_that_the_model_is_saved_to(module, on_path):
    app = on_path({"app/__init__.py": "", "app/program.py": program_in("")}) / "app"
    program = module("app.program", {}).Program()
    for name in ("first", "second"):
        mlflow.dspy.save_model(program, app / name)
        assert shipped(app / name) == {"app/__init__.py", "app/program.py"}


def test_modules_without_source_are_named(module, caplog, monkeypatch):
    made = ModuleType("made_by_hand")
    exec("class Kind: pass", vars(made))
    monkeypatch.setitem(sys.modules, "made_by_hand", made)
    program = module("program", {"program.py": program_in("")}).Program()
    program.kind = made.Kind()
    mlflow.dspy.save_model(program, "model")
    assert shipped() == {"program.py"}
    assert "Not shipped with the model: the module made_by_hand (it has no Python source file)" in caplog.text


def test_a_secret_in_a_module_that_would_be_shipped_stops_the_saving_with_the_way_out(module):
    key = "-".join(["sk", "proj", "4c0ffee7f3a4c0ffee"])
    program = module("program", {"program.py": program_in(f"KEY = {key!r}")}).Program()
    with pytest.raises(SecretError, match=r"code/program.py .*infer_code_paths=False"):
        mlflow.dspy.save_model(program, "model")
    mlflow.dspy.save_model(program, "model", infer_code_paths=False)
    assert shipped() == set()


def test_a_place_for_a_password_in_code_is_no_secret(module):
    program = module("program", {"program.py": program_in('def url(password): return f"db://me:{password}@host"')})
    mlflow.dspy.save_model(program.Program(), "model")
    assert shipped() == {"program.py"}

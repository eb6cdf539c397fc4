"""What a model needs and cannot be found where it loads is named before anything of it is read."""

import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.needs.missing import check_modules
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.own_modules import program_in

NEVER_RUN = "raise SystemExit('this module was run')\n"


def test_all_that_is_missing_is_named_at_once_with_what_to_do():
    recorded = {"no_a": "No-A==1.0", "no_b": None, "no_c": "c==2", "no_d.sub": None, "yaml": "PyYAML==6", "json": None}
    with pytest.raises(ModelFolderError) as caught:
        check_modules(recorded, Path("model"))
    assert str(caught.value) == (
        "The model in model needs modules that cannot be found here: no_a, no_b, no_c, no_d.sub. "
        'Install what is missing: pip install "No-A==1.0" "c==2". '
        "no_b and no_d.sub have to be on the Python path, or logged with code_paths=[...]."
    )


def test_what_is_there_is_found_without_importing_it(on_path):
    files = ["plain.py", "package/__init__.py", "space/deep/sub.py"]
    on_path(dict.fromkeys(files, NEVER_RUN))
    check_modules({"plain": None, "package": "package==1", "space.deep.sub": None}, Path("model"))
    assert not {"plain", "package", "space", "space.deep", "space.deep.sub"} & set(sys.modules)


def test_a_part_of_a_package_that_is_there_may_be_missing(on_path):
    on_path({"space/one.py": "", "package/__init__.py": NEVER_RUN})
    with pytest.raises(ModelFolderError, match=r"here: space.two, package.two\. Install .*: pip install \"two==1\"\."):
        check_modules({"space.one": None, "space.two": "two==1", "package.two": "two==1"}, Path("model"))


def test_loading_tells_all_before_the_program_is_read(module):
    source = program_in("import helper, yaml\n\ndef later():\n    import third")
    program = module("program", {"program.py": source, "helper.py": "", "third.py": ""}).Program()
    mlflow.dspy.save_model(program, "model", infer_code_paths=False)
    Path("own").rename("gone")
    for name in ("program", "helper"):
        del sys.modules[name]
    with pytest.raises(ModelFolderError, match="here: helper, program, third. helper, program and third have to be on"):
        mlflow.dspy.load_model("model")


def test_models_that_do_not_say_what_they_need_load_as_before(module):
    program = module("program", {"program.py": program_in("")}).Program()
    mlflow.dspy.save_model(program, "model")
    description = yaml.safe_load(Path("model/MLmodel").read_text())
    del description["flavors"]["dspy"]["modules"]
    Path("model/MLmodel").write_text(yaml.safe_dump(description))
    assert type(mlflow.dspy.load_model("model")).__name__ == "Program"

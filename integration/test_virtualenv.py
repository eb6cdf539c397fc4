"""The requirements of a model are whole: MLflow builds an environment of them alone, and the program runs there."""

import importlib.util
import json
import os
import sys

import mlflow.utils.virtualenv
import pytest

from integration.processes import PYTHON, run
from integration.test_install import build_wheel
from tests.fakes.openai_server import OpenAIServer
from tests.needs.own_modules import program_in, written

ANSWER = "[[ ## answer ## ]]\nBlack bear.\n\n[[ ## completed ## ]]"
# A module of the user's own, and a package that no other requirement of the model brings; pytest needs it here.
HELPER = program_in("import iniconfig\nassert iniconfig.IniConfig")
SAVE = """
import sys
import dspy, mlflow
from users_helper import Program

dspy.configure(lm=dspy.LM("openai/bears", api_base=sys.argv[1], cache=False))
mlflow.dspy.save_model(Program(), "model")
"""


# MLflow has pyenv compile Python anew, from sources it downloads. This gives it the one that is here.
PYENV = f"""#!/bin/sh
[ "$1 $2" = "install --skip-existing" ] || exit 1
mkdir -p "$PYENV_ROOT/versions" && ln -s "{sys.base_prefix}" "$PYENV_ROOT/versions/$3"
"""


@pytest.fixture
def installing(environment, tmp_path) -> dict[str, str]:
    """The environment variables of a process that installs: with the wheel of this checkout, and an interpreter."""
    # Only installers need the user's home, for their settings.
    variables = {**environment, "HOME": os.environ["HOME"], "TMPDIR": str(tmp_path / "temporary")}
    for folder in ("temporary", "wheels"):
        (tmp_path / folder).mkdir()
    run([PYTHON, "-m", "venv", tmp_path / "builder"], tmp_path, environment=variables)
    wheel = build_wheel(tmp_path / "builder", tmp_path / "wheels", variables)
    commands = written(tmp_path / "commands", {"pyenv": PYENV})
    (commands / "pyenv").chmod(0o755)
    links = f"{environment.get('PIP_FIND_LINKS', '')} {wheel.parent}".strip()
    return {**variables, "PATH": f"{commands}{os.pathsep}{variables['PATH']}", "PIP_FIND_LINKS": links}


@pytest.mark.skipif(
    hasattr(mlflow.utils.virtualenv, "_validate_virtualenv_is_available")
    and not importlib.util.find_spec("virtualenv"),
    reason="the virtualenv that this release of MLflow runs is not installed",
)
def test_a_model_predicts_in_an_environment_that_mlflow_builds_of_its_requirements(installing, environment, tmp_path):
    home = written(tmp_path / "home", {"users_helper.py": HELPER, "save.py": SAVE})
    question = written(tmp_path, {"question.json": json.dumps({"inputs": {"question": "What kind of bear?"}})})
    with OpenAIServer(models={"bears": lambda messages, body: ANSWER}) as server:
        run([PYTHON, home / "save.py", server.base_url], home, environment=environment)
        command = [PYTHON.parent / "mlflow", "models", "predict", "--env-manager", "virtualenv"]
        files = ["--input-path", question / "question.json", "--output-path", tmp_path / "answer.json"]
        run([*command, "--model-uri", home / "model", *files], tmp_path, environment=installing, seconds=900)
        assert server.request_count == 1
    assert json.loads((tmp_path / "answer.json").read_text()) == {"predictions": {"answer": "Black bear."}}

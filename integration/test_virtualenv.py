"""The requirements of a model are whole: MLflow builds an environment of them alone, and the program runs there."""

import importlib.util
import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow.utils.virtualenv
import pytest

from integration.processes import PYTHON, answers, free_port, run, running
from integration.test_install import build_wheel
from tests.fakes.openai_server import OpenAIServer
from tests.needs.own_modules import program_in, written

ANSWER = "[[ ## answer ## ]]\nBlack bear.\n\n[[ ## completed ## ]]"
WHOLE = bool(os.environ.get("WHOLE"))
QUESTION = {"inputs": {"question": "What kind of bear?"}}
PREDICTED = {"predictions": {"answer": "Black bear."}}
MODELS = [PYTHON.parent / "mlflow", "models"]
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
[ "$1" = root ] && echo "$PYENV_ROOT" && exit
[ "$1 $2" = "install --skip-existing" ] || exit 1
mkdir -p "$PYENV_ROOT/versions" && ln -s "{sys.base_prefix}" "$PYENV_ROOT/versions/$3"
"""
needs_virtualenv = pytest.mark.skipif(
    hasattr(mlflow.utils.virtualenv, "_validate_virtualenv_is_available")
    and not importlib.util.find_spec("virtualenv"),
    reason="the virtualenv that this release of MLflow runs is not installed",
)


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
    places = {"PYENV_ROOT": str(tmp_path / "pyenv"), "MLFLOW_ENV_ROOT": str(tmp_path / "environments")}
    return {**variables, **places, "PATH": f"{commands}{os.pathsep}{variables['PATH']}", "PIP_FIND_LINKS": links}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(models={"bears": lambda messages, body: ANSWER}) as server:
        yield server


@pytest.fixture
def model(server, environment, tmp_path) -> Path:
    """A model with a module of the user's own."""
    home = written(tmp_path / "home", {"users_helper.py": HELPER, "save.py": SAVE})
    run([PYTHON, home / "save.py", server.base_url], home, environment=environment)
    return home / "model"


@needs_virtualenv
def test_a_model_is_served_in_an_environment_that_mlflow_builds_of_its_requirements(
    model, server, installing, tmp_path
):
    port = free_port()
    command = [*MODELS, "serve", "--env-manager", "virtualenv", "--model-uri", model, "--port", str(port)]
    with running(command, tmp_path / "server", environment=installing) as process:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/ping"), "answers", 900)
        assert asked(port) == PREDICTED
    assert server.request_count == 1


@needs_virtualenv
@pytest.mark.skipif(not WHOLE, reason="builds the same environment again; WHOLE=1 does")
def test_a_model_predicts_in_such_an_environment(model, server, installing, tmp_path):
    question = written(tmp_path, {"question.json": json.dumps(QUESTION)}) / "question.json"
    command = [*MODELS, "predict", "--env-manager", "virtualenv", "--model-uri", model]
    files = ["--input-path", question, "--output-path", tmp_path / "answer.json"]
    run([*command, *files], tmp_path, environment=installing, seconds=900)
    assert server.request_count == 1
    assert json.loads((tmp_path / "answer.json").read_text()) == PREDICTED


def asked(port: int) -> object:
    """What the server on a port answers to the question."""
    head = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", json.dumps(QUESTION).encode(), head)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)

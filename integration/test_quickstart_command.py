"""`mlflow-dspy quickstart` as a process, and the commands that it prints, pasted into a shell."""

import json
import re
import shlex
from pathlib import Path

import pytest

from integration.processes import PYTHON, Finished, answers, free_port, run, running

QUICKSTART = [PYTHON.parent / "mlflow-dspy", "quickstart", "--optimizer", "labeled"]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory, environment) -> tuple[Path, Finished]:
    """The finished command, and the folder that it ran in, whose name needs quoting."""
    folder = tmp_path_factory.mktemp("quick start")
    return folder, run(QUICKSTART, tmp_path_factory.mktemp("logs"), environment=environment, cwd=folder)


def pasted(output: str, words: str, port: int) -> list[str]:
    """The printed command that holds the words, as a shell would run it, on a free port."""
    line = next(line for line in output.replace("\\\n", " ").splitlines() if words in line)
    return ["bash", "-c", "exec env " + re.sub(r"(?<=--port )\d+|(?<=127\.0\.0\.1:)\d+", str(port), line.strip())]


def test_it_says_what_it_did_and_what_its_language_model_is(quickstart):
    folder, finished = quickstart
    assert "in-context classifier of this package (no LLM" in finished.stdout
    before, after = re.search(r"(\d+)% before, (\d+)% after", finished.stdout).groups()
    assert int(after) > int(before)
    assert (folder / "mlflow-dspy-quickstart" / "mlflow.db").exists()
    assert (folder / "mlflow-dspy-quickstart" / "artifacts").is_dir()
    assert [path.name for path in folder.iterdir()] == ["mlflow-dspy-quickstart"]


def test_its_command_for_the_ui_works_when_pasted(quickstart, environment, tmp_path):
    _, finished = quickstart
    port = free_port()
    with running(pasted(finished.stdout, "mlflow ui", port), tmp_path, environment=environment) as ui:
        ui.wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "answered /health", 120)


def test_its_commands_for_serving_and_asking_work_when_pasted(quickstart, environment, tmp_path_factory):
    _, finished = quickstart
    port, logs = free_port(), tmp_path_factory.mktemp("logs")
    with running(pasted(finished.stdout, "models serve", port), logs, environment=environment) as server:
        server.wait_until(lambda: answers(f"http://127.0.0.1:{port}/ping"), "answered /ping", 120)
        asked = run(pasted(finished.stdout, "curl", port), tmp_path_factory.mktemp("logs"), environment=environment)
    assert set(json.loads(asked.stdout)["predictions"]) == {"label"}


def test_it_can_be_run_again_in_the_same_folder(quickstart, environment, tmp_path):
    folder, _ = quickstart
    again = run(QUICKSTART, tmp_path, environment=environment, cwd=folder)
    assert "after." in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.tsv"], "There is no file 'nowhere.tsv'"),
        (["--model", "openai/"], "The quickstart stopped"),
    ],
)
def test_what_cannot_work_ends_with_the_reason_and_no_traceback(arguments, message, tmp_path, environment):
    command = shlex.join([*map(str, QUICKSTART), *arguments])
    finished = run(["bash", "-c", f"! {command}"], tmp_path, environment=environment)
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr

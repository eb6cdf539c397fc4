"""The quickstart: an optimizer of each kind makes the program better, and what is logged comes back."""

import json
import shlex
import shutil
from pathlib import Path

import mlflow
import pytest

from mlflow_dspy_plugin import cli
from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.quickstart import story
from mlflow_dspy_plugin.quickstart.data import NEWS
from mlflow_dspy_plugin.quickstart.optimizers import RECIPES


class Counter:
    """A progress that only counts."""

    def __init__(self):
        self.stages: list[str] = []
        self.calls = 0

    def begin(self, stage):
        self.stages.append(stage)

    def lm_called(self):
        self.calls += 1


@pytest.fixture
def few_rows(tmp_path) -> Path:
    """Ten rows of each of three labels of the news sample."""
    rows = NEWS.read_text(encoding="utf-8").splitlines()
    chosen = [row for label in ("food", "health", "sport") for row in rows if row.startswith(label)][:90]
    kept = [row for index, row in enumerate(chosen) if index % 3 == 0]
    (tmp_path / "few.tsv").write_text("\n".join([rows[0], *kept]), encoding="utf-8")
    return tmp_path / "few.tsv"


def test_the_story_is_told_to_its_end(tmp_path, few_rows, empty_store, monkeypatch):
    """In a store that is there, since making one takes seconds; the command makes its own (integration)."""
    # As in the command, which has to wait for it.
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "true")
    (tmp_path / "new").mkdir()
    shutil.copy(empty_store, tmp_path / "new" / "mlflow.db")
    progress = Counter()
    outcome = story.run(tmp_path / "new", "labeled", None, few_rows, progress)
    assert outcome.after > outcome.before + 0.1
    assert len(progress.stages) == cli._STAGES
    assert progress.calls >= 2 * outcome.unseen
    run = mlflow.get_run(outcome.run_id)
    assert run.data.metrics == {"accuracy_before": outcome.before, "accuracy_after": outcome.after}
    assert run.data.params["optimizer"] == "LabeledFewShot"
    assert len(mlflow.search_traces(return_type="list")) >= 2 * outcome.unseen
    assert (tmp_path / "new" / "artifacts").is_dir()


def test_simba_takes_as_few_rows_as_there_are():
    assert [RECIPES["simba"](len, rows).bsize for rows in (6, 90)] == [6, 30]


def test_the_command_knows_every_recipe():
    assert tuple(RECIPES) == cli.OPTIMIZERS


def test_the_report_names_the_run_and_commands_that_can_be_pasted(tmp_path):
    outcome = story.Outcome("sqlite:///a b.db", "run-1", "models:/m-1", 0.3, 0.7, 90, 'say "hi", it\'s me')
    report = cli._report(outcome)
    assert "30% before, 70% after" in report
    assert "run-1" in report
    assert "--backend-store-uri 'sqlite:///a b.db'" in report
    assert "models serve -m models:/m-1 \\\n" in report
    (ask,) = [line for line in report.splitlines() if "curl" in line]
    assert json.loads(shlex.split(ask)[-1]) == {"inputs": [outcome.question]}


def test_bad_data_stops_the_command_with_what_is_wrong(tmp_path, capsys):
    status = cli.main(["quickstart", "--data", "missing.tsv", "--folder", str(tmp_path / "q")])
    assert status == 1
    assert "There is no file 'missing.tsv'" in capsys.readouterr().err


def test_bad_data_is_refused_before_a_store_is_made(tmp_path):
    with pytest.raises(InputError, match="There is no file"):
        story.run(tmp_path / "new", "labeled", None, tmp_path / "missing.tsv", Counter())
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_stops_the_command_with_the_reason(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert cli.main(["quickstart", "--folder", str(tmp_path / "file")]) == 1
    assert "The quickstart stopped: " in capsys.readouterr().err

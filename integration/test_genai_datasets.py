"""Examples in a real `mlflow server`: as a dataset of a run, as records, in the UI, and in the whole feedback loop."""

import csv
import itertools
import json
import re
import time
from pathlib import Path

import dspy
import mlflow
import mlflow.genai.datasets
import pytest

from integration.processes import PYTHON, answers, free_port, running
from mlflow_dspy_plugin.quickstart.data import read_rows, split
from tests.fakes.openai_server import OpenAIServer, in_context_classifier

LOOP = Path(__file__).parents[1] / "docs" / "feedback_loop.md"
ROWS_SHOWN = 200


@pytest.fixture(scope="module")
def examples(reuters):
    """Reuters R8."""
    with (reuters / "train.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [dspy.Example(text=row["text"], label=row["label"]).with_inputs("text") for row in rows]


@pytest.fixture(scope="module")
def run(examples, tracking_server):
    """A run with Reuters R8 as a dataset."""
    mlflow.set_experiment("Datasets")
    with mlflow.start_run(run_name="reuters") as run:
        mlflow.log_input(mlflow.data.from_dspy(examples, name="reuters-r8"), context="training")
    return tracking_server.client.get_run(run.info.run_id)


def test_reuters_comes_back_from_the_server(run, examples):
    (given,) = run.inputs.dataset_inputs
    assert json.loads(given.dataset.profile) == {"num_rows": len(examples), "input_keys": ["text"]}
    source = mlflow.data.get_source(given)
    again = source.load()
    assert again == examples and all(each._input_keys == {"text"} for each in again)
    assert list(itertools.islice(source.examples(), 3)) == examples[:3]


@pytest.fixture(scope="module")
def records(examples, tracking_server):
    """Some of Reuters R8 as a dataset of `mlflow.genai`."""
    mlflow.set_experiment("Datasets")
    dataset = mlflow.genai.datasets.create_dataset("reuters-r8-records")
    return dataset.merge_records(mlflow.dspy.examples_to_records(unique(examples)))


def unique(examples):
    return list({example.text: example for example in examples[:ROWS_SHOWN]}.values())


def test_reuters_is_a_dataset_of_genai_too(records, examples):
    stored = mlflow.genai.datasets.get_dataset(dataset_id=records.dataset_id)
    again = {example.text: example for example in mlflow.dspy.examples_from_records(stored)}
    assert again == {example.text: example for example in unique(examples)}


newest_ui = pytest.mark.skipif(not hasattr(mlflow.tracing, "context"), reason="the pages of this release are others")


@newest_ui
def test_the_page_of_a_dataset_shows_its_records(browser, tracking_server, records, examples, screenshots):
    (experiment_id,) = records.experiment_ids
    browser.open(f"{tracking_server.uri}/#/experiments/{experiment_id}/datasets/{records.dataset_id}")
    browser.wait_for("reuters-r8-records", f"{len(unique(examples))} records", '{"label":"earn"}')
    browser.screenshot(screenshots / "records.png")


@newest_ui
def test_the_page_of_the_run_shows_the_dataset(browser, tracking_server, run, screenshots):
    browser.open(f"{tracking_server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    (given,) = run.inputs.dataset_inputs
    browser.wait_for("reuters-r8", given.dataset.digest[:8])
    browser.click(next(line for line in browser.text.splitlines() if line.startswith("reuters-r8")))
    browser.wait_for("text", "label", "string")
    browser.screenshot(screenshots / "dataset.png")


# -- the loop -------------------------------------------------------------------------------------


def blocks() -> list[tuple[str, str]]:
    """The fenced blocks of the document, with their languages."""
    return re.findall(r"^```(\w+)\n(.*?)^```", LOOP.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_the_feedback_loop_runs_as_it_is_written(tracking_server, environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, unseen = split(read_rows())
    port = str(free_port())
    with OpenAIServer(models={"gpt-4o-mini": in_context_classifier()}) as lm:
        monkeypatch.setenv("OPENAI_API_BASE", lm.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", environment["OPENAI_API_KEY"])
        own = {
            "OPENAI_API_BASE": lm.base_url,
            "MLFLOW_TRACKING_URI": tracking_server.uri,
            "MLFLOW_EXPERIMENT_NAME": "news",
            "DSPY_CACHEDIR": str(tmp_path / "cache"),
        }
        loop = Loop(port, {**environment, **own}, tmp_path)
        # The texts that people ask about, and what they know to be right.
        loop.namespace |= {"texts": [each.text for each in train], "right": {each.text: each.label for each in train}}
        try:
            for language, block in blocks():
                loop.run(language, block)
                if "answers = {" in block:
                    wait_for_traces(tracking_server, len(train))
                if language == "sh":
                    loop.scores.append(loop.score(unseen) if "ask" in loop.namespace else None)
            first = sum(loop.namespace["answers"][each.text]["label"] == each.label for each in train) / len(train)
            assert len(loop.namespace["trainset"]) == len(train)
            assert loop.scores[-1] > first
        finally:
            loop.stop()
            mlflow.dspy.autolog(disable=True)
    versions = tracking_server.client.search_model_versions("name = 'news'")
    assert sorted(int(each.version) for each in versions) == [1, 2]
    (found,) = [each for each in tracking_server.runs("news") if each.info.run_name == "with corrections"]
    named = [each for each in found.inputs.dataset_inputs if each.dataset.name == "corrected news"]
    assert sorted(each.text for each in mlflow.data.get_source(named[0]).load()) == sorted(each.text for each in train)


class Loop:
    """Runs the blocks of the document: Python here, a server as a process."""

    def __init__(self, port: str, environment: dict[str, str], folder: Path):
        self.namespace: dict = {}
        self.scores: list = []
        self._port, self._environment, self._folder = port, environment, folder
        self._serving = None
        self._count = itertools.count(1)

    def run(self, language: str, block: str) -> None:
        block = block.replace("5001", self._port)
        if language == "sh":
            self._serve(block.split())
        elif block.startswith("# classifier.py"):
            Path("classifier.py").write_text(block)
        else:
            exec(compile(block, str(LOOP), "exec"), self.namespace)

    def score(self, unseen) -> float:
        """The part of texts never asked about before that is answered right."""
        return sum(self.namespace["ask"](each.text)["label"] == each.label for each in unseen) / len(unseen)

    def stop(self) -> None:
        if self._serving is not None:
            self._serving.__exit__(None, None, None)
            self._serving = None

    def _serve(self, command: list[str]) -> None:
        self.stop()
        command[0] = str(PYTHON.parent / command[0])
        folder = self._folder / f"serve-{next(self._count)}"
        self._serving = running(command, folder, environment=self._environment)
        process = self._serving.__enter__()
        url = f"http://127.0.0.1:{self._port}/ping"
        process.wait_until(lambda: answers(url), "answered /ping", 120)


def wait_for_traces(server, count: int) -> None:
    """Wait until the served model has written its traces, as people do who come later."""
    for _ in range(300):
        if len(server.traces("news")) >= count:
            return
        time.sleep(0.1)
    raise AssertionError(f"{len(server.traces('news'))} traces of {count}")

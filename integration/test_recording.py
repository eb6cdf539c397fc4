"""The record of an optimization survives what becomes of the program and of the tracking server.

Each program is a process of its own that walks from candidate to candidate (`programs/walk.py`), and speaks to a real
`mlflow server` through a proxy that is slow, refuses or leads nowhere as it is told. With `WHOLE=1` in the environment
there are 2,000 candidates and all ways to fail, which takes some minutes more.
"""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

from integration.conftest import PROGRAMS, ROOT, TrackingServer
from integration.processes import PYTHON, Process, ProcessFailed, answers, free_port, running
from integration.proxy import Proxy, proxy_to

SECONDS = 240
WHOLE = bool(os.environ.get("WHOLE"))
MANY = 2000 if WHOLE else 300
FILES = {"best_model.json", "candidates.json", "optimization.json", "program_before.json", "report.html"}


@dataclass
class Place:
    """Where the programs of a test run, and what they leave.

    Attributes:
        server: What they write to in the end.
        proxy: The way there.
        experiment: Where they write to.
        folder: What is theirs on disk.
        environment: Their environment variables.
    """

    server: TrackingServer
    proxy: Proxy
    experiment: str
    folder: Path
    environment: dict[str, str]

    def start(self, **variables: object):
        """Run the walk as long as the block lasts; the block gets its process."""
        own = {
            **{"MLFLOW_TRACKING_URI": self.proxy.uri, "MLFLOW_EXPERIMENT_NAME": self.experiment},
            **{"MLFLOW_DSPY_SPOOL_DIR": self.folder / "spool", "MLFLOW_DSPY_EXIT_TIMEOUT": 60, "PYTHONPATH": ROOT},
            **{"CANDIDATES": 5, "ROWS": 4, "LATENCY": 0.02, "NAME": "walk", **variables},
        }
        name = f"{own['NAME']}-{len(list(self.folder.iterdir()))}"
        environment = {**self.environment, **{key: str(value) for key, value in own.items()}}
        environment["RESULT_FILE"] = str(self.folder / name / "result.json")
        return running([PYTHON, PROGRAMS / "walk.py"], self.folder / name, environment=environment)

    def run(self, **variables: object) -> dict[str, Any]:
        """Run the walk to its end; what it compiled, and how long that took."""
        with self.start(**variables) as process:
            process.finish(SECONDS)
            return result_of(process)

    def later(self) -> None:
        """Run another program of the same user, which also sends what is left."""
        self.run(NAME="later", CANDIDATES=1)
        assert self.waiting() == 0

    def waiting(self) -> int:
        """How many lines wait on disk."""
        return sum(path.read_bytes().count(b"\n") for path in self.folder.rglob("*.jsonl"))

    def walks(self, name: str = "walk-0") -> list[mlflow.entities.Run]:
        """The runs of one walk that are no one's child, oldest first."""
        tops = (run for run in self.server.runs(self.experiment) if "mlflow.parentRunId" not in run.data.tags)
        return [run for run in tops if run.data.params.get("name") == name]

    def walk(self, name: str = "walk-0") -> mlflow.entities.Run:
        """The one run of a walk."""
        [run] = self.walks(name)
        return run

    def below(self, run: mlflow.entities.Run) -> list[mlflow.entities.Run]:
        """The runs below a run, oldest first."""
        parent = run.info.run_id
        return [
            each for each in self.server.runs(self.experiment) if each.data.tags.get("mlflow.parentRunId") == parent
        ]

    def steps(self, metric: str = "score") -> list[int]:
        """The steps of a metric of the walk, as far as the server has them."""
        run_id = self.walk().info.run_id
        return [each.step for each in self.server.client.get_metric_history(run_id, metric)]

    def files(self, run: mlflow.entities.Run) -> set[str]:
        return {each.path for each in self.server.client.list_artifacts(run.info.run_id)}

    def load(self, run: mlflow.entities.Run, file: str) -> Any:
        return json.loads(self.read(run, file))

    def read(self, run: mlflow.entities.Run, file: str) -> str:
        path = self.server.client.download_artifacts(run.info.run_id, file, str(self.folder))
        return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def place(tracking_server, environment, tmp_path, request) -> Iterator[Place]:
    folder = tmp_path / "programs"
    folder.mkdir()
    with proxy_to(tracking_server.uri) as proxy:
        yield Place(tracking_server, proxy, request.node.name, folder, environment)


def result_of(process: Process) -> dict[str, Any]:
    return json.loads((process.folder / "result.json").read_text())


def scored(process: Process) -> int:
    """How many candidates a walk has scored."""
    return process.stdout.count("scored ")


def is_whole(place: Place, run: mlflow.entities.Run, candidates: int, status: str = "FINISHED") -> bool:
    """Whether the record of a walk on four rows has all of its candidates, each with a run of its own."""
    scores = [min(number, 4) * 25.0 for number in range(candidates)]
    assert run.info.status == status
    assert place.files(run) >= FILES
    record = place.load(run, "optimization.json")
    assert (record["status"], record["best_score"], record["baseline"]) == (status, max(scores), None)
    assert [each["score"] for each in record["candidates"]] == scores
    best = next(number for number, score in enumerate(scores) if score == max(scores))
    told = f"know the first {best} answers"
    assert told in place.read(run, "best_model.json") and told in place.read(run, "report.html")
    history = place.server.client.get_metric_history(run.info.run_id, "score")
    assert [(each.step, each.value) for each in history] == list(enumerate(scores))
    children = place.below(run)
    assert [(each.info.run_name, each.info.status) for each in children] == [
        (f"eval_{number}", "FINISHED") for number in range(candidates)
    ]
    assert [each["run_id"] for each in record["candidates"]] == [each.info.run_id for each in children]
    return True


def test_an_exception_ends_the_run_failed_with_all_that_was_known(place):
    with place.start(CANDIDATES=9, FAILS=3) as process, pytest.raises(ProcessFailed, match="the walk ends here"):
        process.finish(SECONDS)
    run = place.walk()
    assert is_whole(place, run, 3, "FAILED")
    assert place.load(run, "optimization.json")["error"] == "ValueError: the walk ends here"
    # The best so far can be loaded as a model.
    assert len(run.outputs.model_outputs) == 1


def test_ctrl_c_ends_the_run_killed_with_all_that_was_known(place):
    with place.start(CANDIDATES=500, LATENCY=0.05) as process:
        process.wait_until(lambda: scored(process) >= 6, "scored some candidates", SECONDS)
        os.kill(process.pid, signal.SIGINT)
        with pytest.raises(ProcessFailed, match="KeyboardInterrupt"):
            process.finish(SECONDS)
    run = place.walk()
    record = place.load(run, "optimization.json")
    assert (run.info.status, record["status"], record["error"]) == ("KILLED", "KILLED", "KeyboardInterrupt: ")
    assert record["best_score"] == 100.0 and len(record["candidates"]) >= 6
    assert place.files(run) >= FILES
    assert "know the first 4 answers" in place.read(run, "best_model.json")
    # The evaluation that was cut off is told of too.
    assert {each.info.status for each in place.below(run)} <= {"FINISHED", "KILLED", "FAILED"}
    assert place.waiting() == 0


def test_kill_9_leaves_the_steps_on_the_server_and_the_rest_to_the_next_process(place):
    with place.start(CANDIDATES=500, LATENCY=0.05) as process:
        # They are there while it runs.
        process.wait_until(lambda: scored(process) >= 3 and len(place.walks()) == 1, "made a run", SECONDS)
        process.wait_until(lambda: len(place.steps("best_score")) >= 3, "sent the first steps", SECONDS)
        place.proxy.down = True
        before = scored(process)
        process.wait_until(lambda: scored(process) >= before + 5, "scored more", SECONDS)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ProcessFailed, match="ended with -9"):
            process.finish(SECONDS)
    candidates = scored(process)
    assert len(place.steps()) < candidates
    assert place.waiting() > 0
    place.proxy.down = False
    place.later()
    # One more may have been scored, and not said so.
    assert place.steps() in (list(range(candidates)), list(range(candidates + 1)))
    assert place.steps("llm_calls") == place.steps()
    assert len(place.walks()) == len(place.walks("later-0")) == 1
    [killed] = place.walks()
    assert killed.info.status == "KILLED"
    # The table is at most a second behind.
    assert len(place.load(killed, "candidates.json")["data"]) >= 3


def test_a_server_that_is_down_from_the_start_changes_nothing_and_gets_all_from_the_next_process(place):
    plain = place.run(LOGGED="no")
    nowhere = f"http://127.0.0.1:{free_port()}"
    down = place.run(MLFLOW_TRACKING_URI=nowhere)
    assert down["compiled"] == plain["compiled"]
    assert place.waiting() > 0
    # It comes up where it was expected.
    with proxy_to(place.server.uri, int(nowhere.rpartition(":")[2])):
        place.run(MLFLOW_TRACKING_URI=nowhere, NAME="later", CANDIDATES=1)
    assert place.waiting() == 0
    assert is_whole(place, place.walk(), 5)


def fails_by_being_down(proxy: Proxy, fails: bool) -> None:
    proxy.down = fails


def fails_by_429(proxy: Proxy, fails: bool) -> None:
    proxy.refuse = 429 if fails else None


def fails_by_503(proxy: Proxy, fails: bool) -> None:
    proxy.refuse = 503 if fails else None


WAYS_TO_FAIL = [fails_by_being_down, fails_by_429, fails_by_503] if WHOLE else [fails_by_being_down]


@pytest.mark.parametrize("fail", WAYS_TO_FAIL)
def test_a_server_that_fails_for_a_while_gets_all_when_it_is_back(fail: Callable[[Proxy, bool], None], place):
    calls = {"CANDIDATES": 90, "LATENCY": 0.1}
    plain = place.run(LOGGED="no", **{**calls, "LATENCY": 0})
    with place.start(**calls) as process:
        process.wait_until(lambda: scored(process) >= 3 and len(place.walks()) == 1, "made a run", SECONDS)
        fail(place.proxy, True)
        answered, so_far = place.proxy.answered, scored(process)
        process.wait_until(lambda: scored(process) >= so_far + 5, "gone on", SECONDS)
        # One may have been under way.
        assert place.proxy.answered <= answered + 1
        fail(place.proxy, False)
        process.finish(SECONDS)
        assert result_of(process)["compiled"] == plain["compiled"]
    # If it was not back soon enough for this process, the next one sends the rest.
    if place.waiting():
        place.later()
    assert is_whole(place, place.walk(), 90)


def test_a_server_that_takes_5_seconds_a_request_holds_nobody_up(place):
    calls = {"CANDIDATES": 20, "ROWS": 4, "LATENCY": 0.05}
    plain = place.run(LOGGED="no", **calls)
    place.proxy.delay = 5
    with place.start(**calls, MLFLOW_DSPY_EXIT_TIMEOUT=1) as process:
        process.wait_until(lambda: "compiled" in process.stdout, "compiled", SECONDS)
        answered = place.proxy.answered
        slow = result_of(process)
        process.finish(SECONDS)
    assert slow["compiled"] == plain["compiled"]
    # All of it would have taken hundreds of requests; it has not waited for a single one of them.
    assert slow["seconds"] < plain["seconds"] + 5
    assert answered < 20
    place.proxy.delay = 0
    place.later()
    assert place.proxy.answered > 20 + answered
    assert is_whole(place, place.walk(), 20)


def test_compiles_in_two_threads_of_two_processes_stay_apart(place):
    results = []
    working = [
        threading.Thread(target=lambda name=name: results.append(place.run(NAME=name, THREADS=2)))
        for name in ("one", "two")
    ]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    assert len(results) == 2
    names = ["one-0", "one-1", "two-0", "two-1"]
    for name in names:
        run = place.walk(name)
        assert is_whole(place, run, 5)
        programs = place.load(run, "optimization.json")["programs"].values()
        instructions = [each["instructions"] for program in programs for each in program["predictors"].values()]
        assert [told for told in instructions if "know the first" in told and f"{name}:" not in told] == []
    assert len(place.server.runs(place.experiment)) == len(names) * (1 + 5)


def test_a_compile_of_many_candidates_is_quick_to_write_and_whole(place):
    # What it costs is measured by `benchmarks.tracking`.
    found = place.run(CANDIDATES=MANY, ROWS=2, LATENCY=0)
    if place.waiting():
        place.later()
    run = place.walk()
    assert len(place.below(run)) == 100
    table = place.load(run, "candidates.json")
    assert len(table["data"]) == MANY
    numbers = [row[table["columns"].index("number")] for row in table["data"]]
    assert numbers == list(range(MANY))
    record = place.load(run, "optimization.json")
    assert (len(record["candidates"]), len(record["programs"]), record["best_score"]) == (MANY, MANY + 1, 100.0)
    assert len(place.server.client.get_metric_history(run.info.run_id, "score")) == MANY
    page = place.read(run, "report.html")
    assert page.rstrip().endswith("</html>") and found["compiled"]["walk-0"] in page
    assert answers(f"{place.server.uri}/health")

"""Every trace arrives: bursts, servers that die, programs that are killed, ends that may not wait, forks.

The bursts are of 300 calls; all 5,000 that the README speaks of take ten minutes:

    DELIVERY_BURST=5000 python -m pytest integration/test_delivery.py -k burst
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import mlflow
import pytest

from integration.processes import PYTHON, answers, free_port, running
from integration.scripts import ROOT, run_script
from tests.fakes.tracking_server import START, tracking_server

BURST = int(os.environ.get("DELIVERY_BURST", "300"))
SECONDS = 60 + BURST / 2

PROGRAM = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import dspy, mlflow
from mlflow_dspy_plugin.delivery.adoption import flush, report as figures
from tests.fakes.scripted import scripted_lm

class Two(dspy.Module):
    def __init__(self):
        super().__init__()
        self.first = dspy.ChainOfThought("question -> answer")
        self.second = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.second(question=self.first(question=question).answer)

dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
dspy.configure(lm=scripted_lm({"reasoning": "r", "answer": "a"}))
mlflow.dspy.autolog()
two = Two()
def call(times, threads=1):
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda number: two(question=str(number)), range(times)))
"""
# A later program of the same user, which takes its time.
LATER = f"{PROGRAM}\ncall(1)\nflush()\nreport(figures().written)"


@pytest.fixture
def spool(tmp_path, monkeypatch) -> Path:
    """Where the programs of a test keep what the store does not take."""
    folder = tmp_path / "spool"
    monkeypatch.setenv("MLFLOW_DSPY_SPOOL_DIR", str(folder))
    return folder


@pytest.fixture
def place(tmp_path) -> Path:
    """Where the programs of a test run."""
    folder = tmp_path / "program"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int):
    """An `mlflow server` that keeps its store where an earlier one did; the block gets its process."""
    folder.mkdir(exist_ok=True)
    command = [
        *(PYTHON.parent / "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", 1),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", folder / "artifacts"),
    ]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with running(command, folder, environment=environment) as process:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), "answered /health", 90)
        yield process


def run(place: Path, source: str, uri: str, **environment: str):
    return run_script(place, source, seconds=SECONDS, MLFLOW_TRACKING_URI=uri, **environment)


def stored(uri: str) -> list[mlflow.entities.TraceInfo]:
    """All traces of the default experiment."""
    client, found, token = mlflow.MlflowClient(uri), [], None
    while True:
        page = client.search_traces(["0"], max_results=500, page_token=token, include_spans=False)
        found, token = found + [trace.info for trace in page], page.token
        if not token:
            return found


def lines(spool: Path) -> int:
    """How many traces are on disk."""
    return sum(path.read_bytes().count(b"\n") for path in spool.rglob("*.jsonl"))


def a_burst_arrives(place: Path, uri: str, spool: Path):
    call = f"{PROGRAM}\ncall({BURST}, threads=64)\nreport(figures().dropped)"
    assert run(place, call, uri) == 0
    # A process writes for a limited time before it ends: what is left is for the next.
    later = 0
    while lines(spool) or later == 0:
        later += 1
        assert later <= 20
        run(place, LATER, uri)
    assert len(stored(uri)) == BURST + later


def test_a_burst_into_sqlite_arrives(place, spool):
    a_burst_arrives(place, f"sqlite:///{place / 'mlflow.db'}", spool)


def test_a_burst_to_a_server_arrives(place, spool, tmp_path):
    port = free_port()
    with mlflow_server(tmp_path / "server", port):
        a_burst_arrives(place, f"http://127.0.0.1:{port}", spool)


def test_traces_of_a_program_whose_server_dies_and_comes_back_arrive(place, spool, tmp_path):
    port = free_port()
    uri, done = f"http://127.0.0.1:{port}", tmp_path / "done"
    source = f"""{PROGRAM}
from pathlib import Path
call(20)
flush()
print("first", flush=True)
while not Path({str(done)!r}).exists():
    call(5)
    time.sleep(0.5)
Path({str(done)!r}).unlink()
flush()
report(figures().written)
"""
    written = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(mlflow_server(tmp_path / "server", port))
        program = threading.Thread(target=lambda: written.append(run(place, source, uri)))
        program.start()
        server.wait_until(lambda: len(stored(uri)) >= 20, "stored the first traces", 120)
        server.stop()
        with socket.socket() as nobody:
            assert nobody.connect_ex(("127.0.0.1", port)) != 0
        wait_for(lambda: lines(spool) > 0, 120)
        stack.enter_context(mlflow_server(tmp_path / "server", port))
        done.touch()
        program.join(SECONDS)
        assert len(stored(uri)) == written[0] > 20
    assert lines(spool) == 0


def wait_for(ready, seconds: float):
    """Poll until it is so."""
    ended = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if ready():
            return
        ended.wait(0.1)
    raise AssertionError("that has not come to pass")


def test_what_a_killed_program_has_kept_is_sent_by_the_next(place, spool, tmp_path):
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    script = place / "killed.py"
    script.write_text(f"{PROGRAM}\ncall(30)\nflush()\nprint('kept', flush=True)\ntime.sleep(600)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": uri}
    with subprocess.Popen([sys.executable, str(script)], cwd=place, env=environment, stdout=subprocess.PIPE) as killed:
        assert killed.stdout.readline() == b"kept\n"
        killed.send_signal(signal.SIGKILL)
    assert lines(spool) == 30
    with mlflow_server(tmp_path / "server", port):
        assert run(place, LATER, uri) == 31
        assert len(stored(uri)) == 31
    assert lines(spool) == 0


@pytest.mark.parametrize("hangs", ["from the start", "when it is given a trace"])
def test_an_end_waits_no_longer_than_is_set_for_a_server_that_hangs(hangs, place, spool, tmp_path):
    """MLflow itself would wait for two minutes, eight times."""
    with tracking_server(tmp_path / "artifacts") as server:
        hang = threading.Event()

        def refuse(path, trace_id):
            if hangs == "from the start" or path == START:
                hang.wait()

        server.refuse = refuse
        try:
            run(place, f"{PROGRAM}\ncall(10)\nreport(None)", server.uri, MLFLOW_DSPY_EXIT_TIMEOUT="2")
        finally:
            hang.set()
    assert lines(spool) == 10


FORKED = """
import multiprocessing, os
call(5)
child = os.fork()
if child == 0:
    call(2)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
context = multiprocessing.get_context("fork")
process = context.Process(target=call, args=(3,))
process.start()
process.join()
assert process.exitcode == 0
call(1)
report(None)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_processes_write_their_own_traces_and_nobody_else_s(place, spool, tmp_path):
    with tracking_server(tmp_path / "artifacts") as server:
        run(place, PROGRAM + FORKED, server.uri)
        assert len(server.started) == 5 + 2 + 3 + 1
        # The first of a process may be asked about twice; none is written by two processes.
        assert set(server.started.values()) == {1}

"""The README is true: its examples run, one after the other, against an LM over HTTP."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest

from integration.processes import PYTHON, answers, free_port, running
from tests.conftest import empty_store, store, traces  # noqa: F401
from tests.contract.test_readme import README, blocks
from tests.fakes.openai_server import OpenAIServer

# Where the README's server listens.
SERVER = "127.0.0.1:5001"
PROGRAM = "import dspy, mlflow\nmlflow.models.set_model(dspy.ChainOfThought('question -> answer'))\n"
ANSWER = "[[ ## reasoning ## ]]\nThere is a show.\n\n[[ ## answer ## ]]\nBlack bear.\n\n[[ ## completed ## ]]"


@pytest.fixture
def gpt(monkeypatch):
    with OpenAIServer(models={"gpt-4o-mini": lambda messages, body: ANSWER}) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
        yield server


@contextmanager
def served(model_uri: str) -> Iterator[str]:
    """The address of a server of the model, as the README starts one."""
    port = free_port()
    command = [PYTHON.parent / "mlflow", *f"deployments run-local -t dspy --name qa -m {model_uri}".split()]
    command += ["-C", f"port={port}", "-C", "tracing=false"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    with running(command, Path("server"), environment=environment) as process:
        process.wait_until(lambda: answers(f"http://127.0.0.1:{port}/ping"), "answered /ping", 120)
        yield f"127.0.0.1:{port}"


def test_its_python_blocks_run_in_order(gpt, capsys, traces):
    Path("program.py").write_text(PROGRAM)
    namespace: dict = {}
    for block in blocks("python"):
        if SERVER not in block:
            exec(compile(block, str(README), "exec"), namespace)
            continue
        with served(namespace["info"].model_uri) as address:
            exec(compile(block.replace(SERVER, address), str(README), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "{'reasoning': 'There is a show.', 'answer': 'Black bear.'}" in printed
    # A stream, and the table of two rows.
    assert "There is a show.Black bear." in printed.replace("\n", "")
    assert re.search(r"7 +There is a show. +Black bear. +None\n8 +There is a show. +Black bear. +None", printed)
    assert "data json" in printed and "openai/gpt-4o-mini" in printed
    assert re.search(r"^Black bear\. [1-9]\d*$", printed, re.MULTILINE)
    assert "- question: {{question}}" in printed
    assert printed.count("the same: True") == 2
    assert re.search(r"^corrected: .*'answer': 'black bear'.* \{.*'unjudged': \d", printed, re.MULTILINE)
    assert re.search(r"'concise/mean': (np.float64\()?1.0", printed) and "'exact': 100.0" in printed
    assert len(traces()) == 13

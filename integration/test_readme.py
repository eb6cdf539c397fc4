"""The README is true: its examples run, one after the other, against an LM over HTTP."""

import re
from pathlib import Path

import pytest

from tests.conftest import empty_store, store, traces  # noqa: F401
from tests.contract.test_readme import README, blocks
from tests.fakes.openai_server import OpenAIServer

PROGRAM = "import dspy, mlflow\nmlflow.models.set_model(dspy.ChainOfThought('question -> answer'))\n"
ANSWER = "[[ ## reasoning ## ]]\nThere is a show.\n\n[[ ## answer ## ]]\nBlack bear.\n\n[[ ## completed ## ]]"


@pytest.fixture
def gpt(monkeypatch):
    with OpenAIServer(models={"gpt-4o-mini": lambda messages, body: ANSWER}) as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
        yield server


def test_its_python_blocks_run_in_order(gpt, capsys, traces):
    Path("program.py").write_text(PROGRAM)
    namespace: dict = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "{'reasoning': 'There is a show.', 'answer': 'Black bear.'}" in printed
    # A stream, and the table of two rows.
    assert "There is a show.Black bear." in printed.replace("\n", "")
    assert re.search(r"7 +There is a show. +Black bear. +None\n8 +There is a show. +Black bear. +None", printed)
    assert "data json" in printed and "openai/gpt-4o-mini" in printed
    assert re.search(r"^Black bear\. [1-9]\d*$", printed, re.MULTILINE)
    assert len(traces()) == 10

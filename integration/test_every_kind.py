"""Every kind of program is saved as plain data, and sends the same requests from a fresh process, which may not unpickle."""

import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dspy
import mlflow
import pytest
import yaml

from integration.processes import PYTHON, run
from tests.fakes.openai_server import OpenAIServer
from tests.plain.kinds import answers, kinds, state_of
from tests.plain.recorded import recording, sent

ROOT = Path(__file__).parents[1]
KINDS = kinds()
# Their language models answer by themselves; a program without predictors; types that newer releases cannot format.
SILENT = {"language model with state", "language model of attributes", "Flex", "type movie", "type movies"}
LOAD = """
import json, logging, sys
from pathlib import Path

import dspy, mlflow

from tests.plain.kinds import answers, kinds, state_of
from tests.plain.recorded import recording, sent

logging.getLogger("mlflow_dspy_plugin").setLevel(logging.ERROR)
dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
told = {}
with recording(answers(), port=int(sys.argv[2])) as server:
    for name, kind in kinds().items():
        program = mlflow.dspy.load_model(f"{sys.argv[1]}/{name}", configure=False)
        requests = sent(lambda: kind.call(program, **kind.inputs), server)
        told[name] = [type(program).__qualname__, state_of(program), requests]
Path("told.json").write_text(json.dumps(told))
"""


def saved(folder: Path, server: OpenAIServer) -> dict[str, Any]:
    """Save all programs; returns how each was saved, and what it is and sends."""
    found = {}
    for name, kind in KINDS.items():
        program = kind.make()
        mlflow.dspy.save_model(program, folder / name, infer_code_paths=False, pip_requirements=[])
        section = yaml.safe_load((folder / name / "MLmodel").read_text())["flavors"]["dspy"]
        requests = sent(lambda kind=kind, program=program: kind.call(program, **kind.inputs), server)
        found[name] = [section["serialization_format"], type(program).__qualname__, state_of(program), requests]
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> tuple[dict, dict]:
    """What this process, and a fresh one elsewhere, tell of all programs."""
    folder, elsewhere = tmp_path_factory.mktemp("kinds"), tmp_path_factory.mktemp("elsewhere")
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    logging.getLogger("mlflow_dspy_plugin").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch, recording(answers()) as server:
        patch.setenv("OPENAI_API_KEY", environment["OPENAI_API_KEY"])
        before = saved(folder, server)
        port = urlsplit(server.base_url).port
    own = {"PYTHONPATH": str(ROOT), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    run([PYTHON, "-c", LOAD, folder, port], elsewhere, environment={**environment, **own}, seconds=300)
    return before, json.loads((elsewhere / "told.json").read_text())


@pytest.mark.parametrize("name", KINDS)
def test_a_program_of_plain_data_sends_the_same_requests_from_a_fresh_process(name, told):
    before, after = told
    assert before[name][0] == "json"
    assert after[name] == before[name][1:]
    assert len(after[name][-1]) > 1 or name in SILENT

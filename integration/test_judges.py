"""MLflow's judges, which run DSPy's optimizers inside, are aligned to the same with autologging as without."""

import json
import re

import mlflow
import pytest
from mlflow.genai.judges import optimizers

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text

NEWER = hasattr(optimizers, "GEPAAlignmentOptimizer")
CASES = {
    "SIMBAAlignmentOptimizer": {"simba_kwargs": {"max_steps": 2, "num_candidates": 3, "num_threads": 1}}
    if NEWER
    else {}
}
if NEWER:
    CASES["GEPAAlignmentOptimizer"] = {"max_metric_calls": 40, "gepa_kwargs": {"num_threads": 1}}


def judging(messages, body):
    """Says yes to what is polite, and what people say once it has been told to be strict."""
    asked = str(messages)
    numbers = re.findall(r"Question (\d+)\?", asked)
    polite = "Please." in asked.rpartition("outputs")[2]
    said = polite if "strictly" not in asked or not numbers else int(numbers[-1]) % 4 > 0
    return json.dumps({"result": "yes" if said else "no", "rationale": "It says please."})


def reflecting(messages, body):
    asked = str(messages)
    if "module_advice" in asked:
        return chat_text({"discussion": "Hm.", "module_advice": {"self": "Judge strictly."}})
    instructions = "Judge strictly whether {{ outputs }} is a polite answer to {{ inputs }}."
    return json.dumps({"new_instruction": instructions}) if "new_instruction" in asked else f"```\n{instructions}\n```"


@pytest.fixture(scope="module")
def aligned(run_program):
    """Aligns the judge; gives what came out of it, and how many questions it took."""
    with OpenAIServer(models={"judge": judging, "reflecting": reflecting}) as lm:

        def align(optimizer, autolog):
            before = lm.request_count
            base = {"OPENAI_API_BASE": lm.base_url, "OPENAI_BASE_URL": lm.base_url}
            options = {"OPTIMIZER": optimizer, "OPTIONS": json.dumps(CASES[optimizer]), **base}
            experiment = f"{optimizer} {autolog}"
            finished = run_program("aligned_judge", AUTOLOG=autolog, EXPERIMENT=experiment, **options)
            return finished.result, lm.request_count - before

        yield align


@pytest.mark.parametrize("optimizer", CASES)
def test_autologging_changes_nothing_of_what_a_judge_learns(optimizer, aligned, tracking_server):
    plain, logged = aligned(optimizer, "off"), aligned(optimizer, "on")
    assert logged == plain
    assert plain[0]["value"] == "yes"
    # Newer SIMBA makes no rule where a judge says the same each time.
    assert ("strictly" in plain[0]["instructions"]) == (optimizer.startswith("GEPA") or not NEWER)
    runs = tracking_server.runs(f"{optimizer} on")
    [compiled] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert compiled.data.tags["dspy.optimizer"] == optimizer.removesuffix("AlignmentOptimizer")
    assert compiled.info.status == "FINISHED"
    assert tracking_server.runs(f"{optimizer} off") == []


def test_the_release_decides_which_optimizers_there_are():
    assert set(CASES) <= set(dir(optimizers)), mlflow.__version__

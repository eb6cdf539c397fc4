"""What one process saves, another one loads, though the classes were defined in the first one's script."""

import pytest

from integration.scripts import run_script
from tests.packaging.no_store import store  # noqa: F401

HELPER = "import yaml\ndef triple(value): return 3 * value + len(yaml.safe_load('[]'))\n"

SAVE = """
import enum, pathlib, sys
import numpy as np
pathlib.Path("lib").mkdir()
pathlib.Path("lib/users_helper.py").write_text(HELPER)
sys.path.insert(0, "lib")
import users_helper
from typing import Literal, Optional
import dspy, mlflow, pydantic
from tests.fakes.scripted import scripted_lm

class Person(pydantic.BaseModel):
    name: str
    token: str = "t"

class Mood(enum.Enum):
    GOOD = "good"

class Extract(dspy.Signature):
    "Extract everything."
    text: str = dspy.InputField(desc="a text")
    kind: Literal["a", "b"] = dspy.OutputField()
    people: list[Person] = dspy.OutputField()
    mood: Mood = dspy.OutputField()
    note: Optional[str] = dspy.OutputField()

class Pipeline(dspy.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k
        self.extract = dspy.ChainOfThought(Extract)

    def forward(self, text: str):
        result = self.extract(text=text)
        return dspy.Prediction(**result, k=self.k, doubled=double(self.k), tripled=lazily(self.k))

def double(value):
    return int(np.multiply(2, value))

def lazily(value):
    import pandas
    return users_helper.triple(value)

def weather(city: str) -> str:
    "The weather of a city."
    return f"rain in {city}"

class Retriever:
    def __init__(self, k, api_key):
        self.k, self.api_key = k, api_key

class Shout(dspy.ChatAdapter):
    def format(self, *args, **kwargs):
        return [{**m, "content": m["content"].upper()} for m in super().format(*args, **kwargs)]

FIELDS = {"reasoning": "r", "kind": "a", "people": [{"name": "Ann"}], "mood": "good", "note": "n"}
STEPS = [{"next_thought": "t", "next_tool_name": "weather", "next_tool_args": {"city": "Rome"}},
         {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": {}}, {"reasoning": "r", "answer": "rain"}]
rm = Retriever(5, "canary-4c0ffee")
dspy.configure(lm=scripted_lm(FIELDS, temperature=0.4), adapter=Shout(), rm=rm)
compiled = Pipeline(k=21)
demo = dspy.Example(text="x", people=[Person(name="Bo")], mood=Mood.GOOD)
compiled.extract.predict.demos = [demo.with_inputs("text")]
agent = dspy.ReAct("question -> answer", tools=[weather, lambda city: weather(city)])
agent.set_lm(scripted_lm(STEPS))
mlflow.dspy.save_model(compiled, "pickle", input_example="text", code_paths=["lib/users_helper.py"])
mlflow.dspy.save_model(compiled, "dspy", use_dspy_model_save=True, code_paths=["lib/users_helper.py"])
mlflow.dspy.save_model(agent, "agent")
lines = open("pickle/requirements.txt").read().splitlines()
report({"key": rm.api_key, "requirements": sorted(line.split("==")[0].lower() for line in lines if "==" in line)})
"""

LOAD = """
import threading
import dspy, mlflow
assert dspy.settings.lm is None
found = {}
# A thread of the user's is the first to configure DSPy: no other one may.
thread = threading.Thread(target=lambda: dspy.configure(track_usage=False))
thread.start(); thread.join()

for name in ("pickle", "dspy"):
    dspy.settings.lm  # nothing is set before the first load, and the first load's settings stay
    program = mlflow.dspy.load_model(name)
    result = program(text="a text")
    prompt = dspy.settings.lm.script.requests[-1]
    found[name] = {
        "class": type(program).__name__,
        "answer": [result.kind, result.people[0].name, result.mood.value, result.note, result.doubled, result.tripled],
        "demo": program.extract.predict.demos[0].people[0].token,
        "settings": [dspy.settings.lm.kwargs["temperature"], type(dspy.settings.adapter).__name__, dspy.settings.rm.k],
        "key": dspy.settings.rm.api_key,
        "shouted": "A TEXT" in prompt[-1]["content"] and "a text" not in prompt[-1]["content"],
        "pyfunc": mlflow.pyfunc.load_model(name).predict({"text": "a text"}),
    }
found["text"] = mlflow.pyfunc.load_model("pickle").predict("a text")["kind"]
agent = mlflow.dspy.load_model("agent")
found["agent"] = agent(question="Weather?").trajectory["observation_0"]
report(found)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the second process found."""
    folder = tmp_path_factory.mktemp("processes")
    saved = run_script(folder, f"HELPER = {HELPER!r}\n{SAVE}")
    return {**run_script(folder, LOAD), "saved": saved}


@pytest.mark.parametrize("name", ["pickle", "dspy"])
def test_a_program_of_a_script_comes_back_in_a_fresh_process_with_its_settings(found, name):
    """By both formats, from a thread that DSPy does not let configure, as a program and behind pyfunc."""
    assert found[name] == {
        "class": "Pipeline",
        "answer": ["a", "Ann", "good", "n", 42, 63],
        "demo": "t",
        "settings": [0.4, "Shout", 5],
        "key": None,
        "shouted": True,
        "pyfunc": {
            "reasoning": "r",
            "kind": "a",
            "people": [{"name": "Ann", "token": "t"}],
            "mood": "good",
            "note": "n",
            "k": 21,
            "doubled": 42,
            "tripled": 63,
        },
    }


def test_a_model_logged_with_a_text_takes_a_text_in_a_fresh_process(found):
    assert found["text"] == "a"


def test_an_agent_calls_the_tools_of_the_script_in_a_fresh_process(found):
    assert found["agent"] == "rain in Rome"


def test_the_requirements_are_what_the_code_of_the_script_and_its_helpers_uses(found):
    """Through functions that functions call, modules of the user's own, and imports inside of functions."""
    saved = found["saved"]
    assert saved["key"] == "canary-4c0ffee"
    always = {"cloudpickle", "dspy", "mlflow", "mlflow-dspy-plugin"}
    assert set(saved["requirements"]) >= always | {"numpy", "pandas", "pydantic", "pyyaml"}
    assert not {"pytest", "scikit-learn", "users-helper"} & set(saved["requirements"])

"""A model travels: saved in one folder, it loads in a fresh process elsewhere that has none of the user's modules."""

import json
import shutil

import pytest

from integration.processes import PYTHON, run
from tests.needs.own_modules import written

SOURCES = {
    "shop/__init__.py": "",
    "shop/flow/__init__.py": "from .program import Desk\n",
    "shop/flow/program.py": """
import dspy
import yaml

import prices
from . import words
from shop.models import Ticket


class Desk(dspy.Module):
    def __init__(self):
        super().__init__()
        self.read = dspy.Predict(dspy.Signature({
            "text": (str, dspy.InputField()), "ticket": (Ticket, dspy.OutputField()),
        }, "Read it."))

    def forward(self, text: str):
        from regions.north import tax

        ticket = self.read(text=words.polite(text)).ticket
        return dspy.Prediction(total=tax(prices.of(ticket.item)), items=yaml.safe_load("[a]"))
""",
    "shop/flow/words.py": "from pathlib import Path\nWORD = Path(__file__).with_name('word.txt').read_text()\n"
    "def polite(text): return f'{WORD} {text}'\n",
    "shop/flow/word.txt": "Please:",
    "shop/models.py": "import pydantic\nclass Ticket(pydantic.BaseModel):\n    item: str\n",
    "prices.py": "def of(item): return {'tea': 2}[item]\n",
    "regions/north.py": "def tax(price): return price * 1.5\n",
}
LM = """
import dspy, os
ANSWER = '[[ ## ticket ## ]]\\n{"item": "tea"}\\n\\n[[ ## completed ## ]]'
class Scripted(dspy.BaseLM):
    def forward(self, prompt=None, messages=None, **kwargs):
        from litellm import ModelResponse
        assert "Please: hello" in str(messages), messages
        return ModelResponse(choices=[{"message": {"content": ANSWER}}], usage={}, model="m")
"""
SAVE = """
import sys
import dspy, mlflow
from shop.flow import Desk

dspy.configure(lm=None)
mlflow.dspy.save_model(Desk(), sys.argv[1], infer_code_paths=sys.argv[2] == "infer")
"""
LOAD = (
    LM
    + """
import json, sys, mlflow
dspy.configure(lm=Scripted("m"))
assert not os.environ.get("PYTHONPATH")
try:
    program = mlflow.dspy.load_model(sys.argv[1])
    pyfunc = mlflow.pyfunc.load_model(sys.argv[1])
    told = [program(text="hello").toDict(), pyfunc.predict({"text": "hello"}), sys.modules["prices"].__file__]
except mlflow.MlflowException as error:
    told = str(error)
print("TOLD " + json.dumps(told))
"""
)


@pytest.fixture
def elsewhere(environment, tmp_path):
    """Saves the program where its modules are, and tells what a process without them makes of it."""
    home = written(tmp_path / "home", {**SOURCES, "save.py": SAVE})

    def save_and_load(how: str, **options: str) -> object:
        run([PYTHON, home / "save.py", home / "model", how], tmp_path, environment=environment)
        shutil.move(home / "model", tmp_path / "model")
        shutil.rmtree(home)
        place = written(tmp_path / "elsewhere", {"load.py": LOAD})
        command = [PYTHON, place / "load.py", tmp_path / "model"]
        finished = run(command, place, environment={**environment, **options})
        return json.loads(finished.stdout.rpartition("TOLD ")[2])

    return save_and_load


def test_a_program_of_a_package_and_helpers_runs_where_neither_is(elsewhere, tmp_path):
    expected = {"total": 3.0, "items": ["a"]}
    assert elsewhere("infer") == [expected, expected, str(tmp_path / "model" / "code" / "prices.py")]


def test_without_the_modules_all_of_them_are_named(elsewhere):
    told = elsewhere("not")
    assert "cannot be found here: prices, regions.north, shop." in told
    assert "prices, regions.north and shop have to be on the Python path, or logged with code_paths" in told

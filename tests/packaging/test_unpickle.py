"""A pickle of another Python comes back without any of that Python's bytecode."""

import enum
from pathlib import Path

import cloudpickle
import dspy
import pydantic
import pytest

from mlflow_dspy_plugin.errors import ModelFolderError
from mlflow_dspy_plugin.packaging.unpickle import HERE, python_that_saved, unpickle
from mlflow_dspy_plugin.seams.older_dspy import complete
from tests.fakes.scripted import scripted_lm
from tests.golden.program import ANSWER, QUESTION, make_program
from tests.packaging.checks import prompt_of
from tests.packaging.programs import weather

GOLDEN = Path(__file__).parents[1] / "golden"
ELSEWHERE = "3.9"
# Names of a script: cloudpickle writes what is defined there by value.
SCRIPT = {"__name__": "__main__", "pydantic": pydantic, "enum": enum, "dspy": dspy}


def script(source: str, name: str):
    """What a script has defined under the name."""
    namespace = dict(SCRIPT)
    exec(source, namespace)
    return namespace[name]


def foreign(value):
    """The value, as if another Python had pickled it."""
    return unpickle(cloudpickle.dumps(value), ELSEWHERE)


@pytest.mark.parametrize("folder", ["format-1/pickle", "core/3.0.3-pickle", "core/3.1.3-dspy", "core/3.4.1-pickle"])
def test_the_python_that_saved_a_model_is_read_from_it(folder):
    expected = {"format-1/pickle": "3.10", "core/3.0.3-pickle": "3.10", "core/3.1.3-dspy": "3.11"}
    assert python_that_saved(GOLDEN / folder) == expected.get(folder, "3.12")


@pytest.mark.parametrize("name", ["pickle/data/program.pkl", "dspy/data/model/program.pkl"])
def test_a_program_of_python_3_10_answers_everywhere(name):
    saved = unpickle((GOLDEN / "format-1" / name).read_bytes(), "3.10")
    program = saved["program"] if isinstance(saved, dict) else saved
    complete(program, {})
    assert prompt_of(program, **QUESTION) == prompt_of(make_program(), **QUESTION)


def test_a_program_answers_as_before():
    program = foreign(make_program())
    program.set_lm(scripted_lm(ANSWER))
    assert dict(program(**QUESTION)) == ANSWER


def test_an_agent_can_end_and_calls_its_tools():
    agent = foreign(dspy.ReAct("question -> answer", tools=[weather], max_iters=3))
    complete(agent, {})
    step = {"next_thought": "ask", "next_tool_name": "weather", "next_tool_args": {"city": "Rome"}}
    end = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}}
    agent.set_lm(scripted_lm([step, end, {"reasoning": "told", "answer": "rain"}]))
    trajectory = agent(question="Weather?").trajectory
    assert (trajectory["observation_0"], trajectory["observation_1"]) == ("rain in Rome", "Completed.")


def test_types_of_a_script_without_code_come_back():
    source = """
class Mood(enum.Enum):
    GOOD = "good"

class Sender(pydantic.BaseModel):
    name: str
    moods: list[Mood]

class Read(dspy.Signature):
    "Read a letter."
    letter: str = dspy.InputField()
    sender: Sender = dspy.OutputField()
"""
    program = dspy.Predict(script(source, "Read"))
    loaded = foreign(program)
    loaded.set_lm(scripted_lm({"sender": '{"name": "Ann", "moods": ["good"]}'}))
    sender = loaded(letter="Dear").sender
    assert (sender.name, sender.moods[0].value) == ("Ann", "good")
    saved, back = program.signature, loaded.signature
    assert back.output_fields["sender"].annotation.model_json_schema() == saved.model_json_schema()["$defs"][
        "Sender"
    ] | {"$defs": {"Mood": saved.model_json_schema()["$defs"]["Mood"]}}


def test_code_of_a_script_is_refused_with_both_pythons():
    program = dspy.ReAct("question -> answer", tools=[script("def tool(x: str): return x", "tool")])
    expected = (
        f"function 'tool' of the module '__main__' as Python {ELSEWHERE} has compiled it, and this is Python {HERE}"
    )
    with pytest.raises(ModelFolderError, match=expected):
        foreign(program)


def test_a_function_of_pydantic_is_left_out_and_says_so_where_it_is_called():
    method = pydantic.BaseModel.__get_pydantic_json_schema__.__func__
    assert cloudpickle.loads(cloudpickle.dumps(method)).__code__ == method.__code__
    with pytest.raises(ModelFolderError, match=f"was compiled by Python {ELSEWHERE}, and this is Python {HERE}"):
        foreign(method)()


def test_a_pickle_of_this_python_keeps_its_functions():
    triple = script("def triple(x): return 3 * x", "triple")
    assert unpickle(cloudpickle.dumps(triple), HERE)(2) == 6

"""Programs that run code, in DSPy's own sandbox: its Deno, from the package `deno`, and its Pyodide, from npm."""

import shutil
import sys
from pathlib import Path

import dspy
import pytest

from tests.conftest import empty_store, store, traces  # noqa: F401
from tests.fakes.scripted import scripted_lm
from tests.tracing.conftest import log, trace, tracing  # noqa: F401
from tests.tracing.programs import THOUGHT, weather
from tests.tracing.trees import outline, spans_named

DENO = shutil.which("deno", path=Path(sys.executable).parent)
pytestmark = pytest.mark.skipif(DENO is None, reason="needs deno: pip install deno")

RUNNER = Path(dspy.__file__).parent / "primitives" / "runner.js"
IMPORTS = Path(__file__).parent / "programs" / "sandbox_imports.json"
HAS_FACTORIES = hasattr(dspy, "LocalInterpreter")


def sandbox():
    """DSPy's interpreter, without its import from the internet."""
    return dspy.PythonInterpreter(deno_command=[DENO, "run", "--allow-read", f"--import-map={IMPORTS}", str(RUNNER)])


def running_code(kind, *args, **kwargs):
    return kind(*args, **kwargs, **({"interpreter_factory": sandbox} if HAS_FACTORIES else {"interpreter": sandbox()}))


def executions(found):
    """What each run of code was given and gave, without what tells the sandbox of tools."""
    runs = spans_named(found, "PythonInterpreter.execute")
    return [(span.inputs["code"], span.outputs) for span in runs if not span.inputs["code"].startswith("def ")]


def test_program_of_thought_has_its_code_and_what_it_gave(trace):
    program = running_code(dspy.ProgramOfThought, "question -> answer")
    with dspy.context(lm=scripted_lm([{"reasoning": "r", "generated_code": "print(2 + 3)"}, THOUGHT])):
        assert program(question="q").answer == "a"
    found = trace()
    assert executions(found) == [("print(2 + 3)", "5\n")]
    assert outline(found, content=False).splitlines()[0] == "ProgramOfThought.forward AGENT OK"


def test_code_that_fails_is_an_error_and_is_written_again(trace):
    wrong, right = (
        {"reasoning": "r", "generated_code": "1 / 0"},
        {"reasoning": "r", "generated_code": "print('mended')"},
    )
    program = running_code(dspy.ProgramOfThought, "question -> answer")
    with dspy.context(lm=scripted_lm([wrong, right, THOUGHT])):
        assert program(question="q").answer == "a"
    found = trace()
    assert executions(found) == [("1 / 0", None), ("print('mended')", "mended\n")]
    [failed, _] = spans_named(found, "PythonInterpreter.execute")
    assert failed.status.status_code == "ERROR"
    assert "division by zero" in failed.events[0].attributes["exception.message"]


def test_code_act_calls_its_tools_in_code(trace):
    program = running_code(dspy.CodeAct, "question -> answer", tools=[weather])
    answers = [{"generated_code": "print(weather('Paris'))", "finished": "True"}, THOUGHT]
    with dspy.context(lm=scripted_lm(answers)):
        assert program(question="q").answer == "a"
    found = trace()
    assert executions(found) == [("print(weather('Paris'))", "sunny in Paris\n")]
    assert {span.parent_id for span in spans_named(found, "PythonInterpreter.execute")} == {found.data.spans[0].span_id}


@pytest.mark.skipif(not hasattr(dspy, "RLM"), reason="this release has no RLM")
def test_a_language_model_that_is_asked_from_code_is_below_that_code(trace):
    program = running_code(dspy.RLM, "question -> answer")
    ask, submit = "print(llm_query('sub'))", "SUBMIT(answer='a')"
    answers = [{"reasoning": "r", "code": ask}, "from the lm", {"reasoning": "r", "code": submit}]
    with dspy.context(lm=scripted_lm(answers)):
        assert program(question="q").answer == "a"
    found = trace()
    assert ("print(llm_query('sub'))", "from the lm\n") in executions(found)
    call = "PythonInterpreter.tool_call TOOL OK"
    assert f"{call}\n      LM.__call__ CHAT_MODEL OK\n" in outline(found, content=False)

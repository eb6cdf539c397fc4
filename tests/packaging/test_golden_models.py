"""Every folder that a release of this package has saved loads, for ever."""

from pathlib import Path

import dspy
import mlflow
import pytest

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.scripted import scripted_lm
from tests.golden.program import ANSWER, DEMOS, INSTRUCTIONS, MODEL, QUESTION, answer, make_program
from tests.packaging.checks import prompt_of
from tests.packaging.no_store import store  # noqa: F401

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = [pytest.param(path, id=f"{path.parent.name}-{path.name}") for path in sorted(GOLDEN.glob("format-*/*"))]

pytestmark = pytest.mark.parametrize("folder", FOLDERS)


def test_it_comes_back_as_the_program_that_was_saved(folder):
    program = mlflow.dspy.load_model(folder)
    assert type(program).__name__ == ("Sailing" if folder.name == "source" else "ChainOfThought")
    assert isinstance(program, dspy.ChainOfThought)
    assert [dict(demo) for demo in program.predict.demos] == DEMOS
    if folder.name != "code":
        # DSPy's own state makes dicts of examples.
        assert program.predict.demos[0].inputs().keys() == ["question", "k"]
    assert program.predict.signature.instructions == INSTRUCTIONS
    assert prompt_of(program, **QUESTION) == prompt_of(make_program(), **QUESTION)


def test_its_language_model_and_adapter_work(folder):
    program = mlflow.dspy.load_model(folder)
    assert isinstance(dspy.settings.adapter, dspy.ChatAdapter)
    with OpenAIServer({MODEL: answer}) as server:
        dspy.settings.lm.kwargs["api_base"] = server.base_url
        assert dict(program(**QUESTION)) == ANSWER
    (request,) = server.requests
    # The limit has two names in that protocol.
    assert request.body["temperature"] == 0.7 and 99 in request.body.values()


def test_it_answers_behind_pyfunc(folder):
    model = mlflow.pyfunc.load_model(str(folder))
    model.get_raw_model().set_lm(scripted_lm(ANSWER))
    assert model.predict(QUESTION) == ANSWER

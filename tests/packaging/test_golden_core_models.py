"""Models that MLflow's own flavor has saved with other releases load, or say which release of DSPy it takes."""

from pathlib import Path

import dspy
import mlflow
import pytest
from packaging.version import Version

from mlflow_dspy_plugin.errors import ModelFolderError
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.scripted import scripted_lm
from tests.golden.program import ANSWER, DEMOS, INSTRUCTIONS, MODEL, QUESTION, answer, make_program
from tests.packaging.checks import prompt_of
from tests.packaging.no_store import store  # noqa: F401

CORE = Path(__file__).parents[1] / "golden" / "core"
# DSPy 3.4 keeps in past calls what older releases lack; a model of 3.1 holds an adapter that 3.0 has not.
READABLE_FROM = {"3.0.3": "3.0.3", "3.1.3": "3.1.0", "3.2.1": "3.1.0", "3.3.1": "3.1.0", "3.4.1": "3.4.0"}


def is_readable(folder: Path) -> bool:
    """Whether the installed DSPy is as new as the model needs it."""
    return Version(dspy.__version__) >= Version(READABLE_FROM[folder.name.split("-")[0]])


FOLDERS = sorted(CORE.iterdir())
READABLE = [folder for folder in FOLDERS if is_readable(folder)]
TOO_NEW = [folder for folder in FOLDERS if not is_readable(folder)]


def name_of(folder: Path) -> str:
    return folder.name


def test_there_is_a_model_of_each_release_and_format():
    formats = {(version, "pickle") for version in READABLE_FROM}
    formats |= {(version, "dspy") for version in READABLE_FROM if version != "3.0.3"}
    assert {tuple(folder.name.split("-")) for folder in FOLDERS} == formats


@pytest.mark.parametrize("folder", READABLE, ids=name_of)
def test_it_comes_back_as_the_program_that_was_saved(folder):
    program = mlflow.dspy.load_model(folder)
    assert type(program) is dspy.ChainOfThought
    assert [dict(demo) for demo in program.predict.demos] == DEMOS
    assert program.predict.demos[0].inputs().keys() == ["question", "k"]
    assert program.predict.signature.instructions == INSTRUCTIONS
    assert program.predict.config == {"temperature": 0.7}
    assert prompt_of(program, **QUESTION) == prompt_of(make_program(), **QUESTION)


@pytest.mark.parametrize("folder", READABLE, ids=name_of)
def test_its_language_model_and_adapter_work(folder):
    program = mlflow.dspy.load_model(folder)
    assert isinstance(dspy.settings.adapter, dspy.ChatAdapter)
    assert [type(callback).__module__ for callback in dspy.settings.callbacks] == []
    with OpenAIServer({MODEL: answer}) as server:
        dspy.settings.lm.kwargs["api_base"] = server.base_url
        assert dict(program(**QUESTION)) == ANSWER
    (request,) = server.requests
    # The limit has two names in that protocol.
    assert request.body["temperature"] == 0.7 and 99 in request.body.values()


@pytest.mark.parametrize("folder", READABLE, ids=name_of)
def test_its_adapter_asks_again_in_json_where_an_answer_cannot_be_parsed(folder):
    program = mlflow.dspy.load_model(folder)
    with dspy.context(lm=scripted_lm(["no fields at all", '{"reasoning": "r", "answer": "a", "words": []}'])):
        assert program(**QUESTION).answer == "a"


@pytest.mark.parametrize("folder", READABLE, ids=name_of)
def test_it_answers_behind_pyfunc(folder):
    model = mlflow.pyfunc.load_model(str(folder))
    model.get_raw_model().set_lm(scripted_lm(ANSWER))
    assert model.predict(QUESTION) == ANSWER


@pytest.mark.parametrize("folder", TOO_NEW, ids=name_of)
@pytest.mark.parametrize("load", [mlflow.dspy.load_model, mlflow.pyfunc.load_model])
def test_what_this_dspy_is_too_old_for_is_refused_with_both_versions(load, folder):
    version = folder.name.split("-")[0]
    expected = f"saved with dspy {version}, and this is dspy {dspy.__version__}.*pip install 'dspy>={version}'"
    with pytest.raises(ModelFolderError, match=expected):
        load(str(folder))

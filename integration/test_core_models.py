"""Models that the flavor of MLflow itself has saved load, and its tracer stays behind."""

from dataclasses import replace

import dspy
import mlflow
import pytest

from integration.scripts import run_script
from mlflow_dspy_plugin.errors import ModelFolderError
from tests.conftest import empty_store, store, traces  # noqa: F401

SAVE = """
import dspy, mlflow
from tests.fakes.scripted import scripted_lm
import mlflow.dspy
assert mlflow.dspy.save_model.__module__ == "mlflow.dspy.save", mlflow.dspy.save_model.__module__

class Keeper(dspy.utils.callback.BaseCallback):
    "A callback of the user's."

class QA(dspy.Module):
    def __init__(self):
        super().__init__()
        self.answer = dspy.ChainOfThought("question -> answer")
    def forward(self, question):
        return self.answer(question=question)

class Chat(dspy.Module):
    def forward(self, messages):
        return dspy.Prediction(answer=messages[-1]["content"])

mlflow.dspy.autolog()
dspy.configure(lm=scripted_lm({"reasoning": "r", "answer": "bear"}, temperature=0.4), adapter=dspy.ChatAdapter())
dspy.configure(callbacks=[*dspy.settings.callbacks, Keeper()])
program = QA()
program.answer.predict.demos = [dspy.Example(question="x", answer="y").with_inputs("question")]
program(question="Who asked before?")
assert any(type(c).__module__ == "mlflow.dspy.callback" for c in dspy.settings.callbacks)
options = {"pip_requirements": ["dspy"]}
mlflow.dspy.save_model(program, "pickle", **options)
mlflow.dspy.save_model(program, "text", input_example="What?", **options)
mlflow.dspy.save_model(Chat(), "chat", task="llm/v1/chat", **options)
# The second format came with dspy 3.1.1.
by_dspy = tuple(map(int, dspy.__version__.split(".")[:3])) > (3, 1, 0)
if by_dspy:
    mlflow.dspy.save_model(program, "dspy", use_dspy_model_save=True, **options)
report(by_dspy)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("core")
    by_dspy = run_script(folder, SAVE, MLFLOW_DSPY_PLUGIN="false", MLFLOW_TRACKING_URI=f"sqlite:///{folder}/core.db")
    return folder, by_dspy


@pytest.fixture(params=["pickle", "text", "dspy"])
def folder(request, saved):
    """A model in each of the formats that the release can write."""
    folder, by_dspy = saved
    if request.param == "dspy" and not by_dspy:
        pytest.skip("This release of DSPy has one format only.")
    return folder / request.param


def test_a_model_of_mlflow_s_own_flavor_comes_back_as_a_program_with_its_settings(folder):
    program = mlflow.dspy.load_model(folder)
    assert program.answer.predict.demos[0].answer == "y"
    assert dspy.settings.lm.kwargs["temperature"] == 0.4
    assert isinstance(dspy.settings.adapter, dspy.ChatAdapter)
    assert [type(callback).__name__ for callback in dspy.settings.callbacks] == ["Keeper"]
    assert program(question="What?").answer == "bear"


def test_a_model_of_mlflow_s_own_flavor_answers_behind_pyfunc(folder):
    model = mlflow.pyfunc.load_model(str(folder))
    for value in [{"question": "What?"}] + ["What?"] * (folder.name == "text"):
        assert model.predict(value) == {"reasoning": "r", "answer": "bear"}
    assert dspy.settings.lm is None


@pytest.mark.parametrize("flavor", ["dspy", "pyfunc"])
def test_its_tracer_stays_behind_and_nothing_is_traced_twice(saved, flavor, traces):
    folder = saved[0] / "pickle"
    if flavor == "dspy":
        program = mlflow.dspy.load_model(folder)
        call = lambda: program(question="What?")  # noqa: E731
    else:
        model = mlflow.pyfunc.load_model(str(folder))
        call = lambda: model.predict({"question": "What?"})  # noqa: E731
    call()
    assert mlflow.search_traces(return_type="list") == []
    mlflow.dspy.autolog()
    call()
    (trace,) = traces()
    names = [span.name for span in trace.data.spans]
    assert len(names) == len(set(names)) >= 4
    assert [span.span_type for span in trace.data.spans].count("CHAT_MODEL") == 1


def test_settings_that_were_not_set_when_it_was_saved_do_not_hide_the_user_s(saved):
    adapter = dspy.JSONAdapter()
    dspy.configure(adapter=adapter, rm="mine")
    mlflow.dspy.load_model(saved[0] / "pickle")
    assert (dspy.settings.adapter, dspy.settings.rm) == (adapter, "mine")

    class Look(dspy.Module):
        def forward(self, question):
            return str(dspy.settings.rm)

    model = mlflow.pyfunc.load_model(str(saved[0] / "pickle"))
    served = model._model_impl
    served._loaded = replace(served._loaded, program=Look())
    assert model.predict({"question": "?"}) == "mine"


def test_a_chat_model_of_mlflow_s_own_flavor_answers_with_a_completion(saved):
    model = mlflow.pyfunc.load_model(str(saved[0] / "chat"))
    answer = model.predict({"messages": [{"role": "user", "content": "What?"}]})
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "What?"}


def test_a_model_of_mlflow_s_own_flavor_is_pickled_too(saved, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(ModelFolderError, match="is pickled, and MLFLOW_ALLOW_PICKLE_DESERIALIZATION is false"):
        mlflow.dspy.load_model(saved[0] / "pickle")

"""What is saved comes back: the same program, sending the same requests."""

import threading
from pathlib import Path

import dspy
import mlflow
import pytest

from tests.fakes.scripted import scripted_lm
from tests.packaging.checks import prompt_of, reloaded
from tests.packaging.no_store import store  # noqa: F401
from tests.packaging.programs import QA, Typed, compiled, weather

QUESTION = {"question": "Who sails?"}
LETTER = {"letter": "Dear", "pages": 2, "readers": ["Ann"]}


class OptionalArgument(dspy.Module):
    def __init__(self):
        super().__init__()
        self.inner = dspy.Predict("question, hint -> answer")

    def forward(self, question, hint="none"):
        return self.inner(question=question, hint=hint)


class SameNames(dspy.Module):
    """Holds predictors under names that DSPy uses for its own bookkeeping."""

    def __init__(self):
        super().__init__()
        self.traces = dspy.Predict("question -> answer")
        self.token = dspy.Predict("question -> query")

    def forward(self, question):
        return self.traces(question=self.token(question=question).query)


def shared_predictor() -> dspy.Module:
    program = QA()
    program.again = program.rewrite
    return program


PROGRAMS = {
    "predict": (lambda: dspy.Predict("question -> answer"), QUESTION),
    "compiled": (compiled, QUESTION),
    "chain of thought": (lambda: dspy.ChainOfThought("question -> answer"), QUESTION),
    "user's module": (lambda: QA(passages=7), QUESTION),
    "shared predictor": (shared_predictor, QUESTION),
    "optional argument": (OptionalArgument, QUESTION),
    "names of bookkeeping": (SameNames, QUESTION),
    "typed": (lambda: dspy.Predict(Typed), LETTER),
    "typed chain of thought": (lambda: dspy.ChainOfThought(Typed), LETTER),
    "config": (lambda: dspy.Predict("question -> answer", n=1, temperature=0.7), QUESTION),
}


@pytest.mark.parametrize("by_dspy", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loaded_program_sends_the_requests_of_the_one_that_was_saved(name, by_dspy):
    make, inputs = PROGRAMS[name]
    program = make()
    expected = prompt_of(program, **inputs)
    loaded = reloaded(program, use_dspy_model_save=by_dspy)
    assert type(loaded) is type(program)
    assert prompt_of(loaded, **inputs) == expected
    assert [n for n, _ in loaded.named_predictors()] == [n for n, _ in program.named_predictors()]


def test_a_loaded_agent_calls_its_tools():
    loaded = reloaded(dspy.ReAct("question -> answer", tools=[weather], max_iters=3))
    step = {"next_thought": "ask", "next_tool_name": "weather", "next_tool_args": {"city": "Rome"}}
    end = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}}
    with dspy.context(lm=scripted_lm([step, end, {"reasoning": "told", "answer": "rain"}])):
        result = loaded(question="Weather?")
    assert (result.answer, result.trajectory["observation_0"]) == ("rain", "rain in Rome")
    assert loaded.max_iters == 3


def test_a_compiled_program_keeps_its_demos_as_they_were():
    loaded = reloaded(compiled())
    assert loaded.demos == compiled().demos
    assert loaded.demos[0].inputs().toDict() == {"question": "Ship?"}
    assert loaded.signature.instructions == "Answer like a sailor."


def test_a_predictor_of_its_own_keeps_its_own_language_model():
    program = QA()
    program.rewrite.set_lm(dspy.LM("openai/small", temperature=0.3, max_tokens=77, api_key="own-key-12345"))
    loaded = reloaded(program)
    assert loaded.rewrite.lm.model == "openai/small"
    assert (loaded.rewrite.lm.kwargs["temperature"], loaded.rewrite.lm.kwargs["max_tokens"]) == (0.3, 77)
    assert loaded.answer.predict.lm is None
    assert program.rewrite.lm.kwargs["api_key"] == "own-key-12345"


class Retriever:
    """A retriever of the user's, as `dspy.configure(rm=...)` takes it."""

    def __init__(self, k, api_key):
        self.k, self.api_key = k, api_key


def configure() -> None:
    lm = scripted_lm('{"answer": "x"}', temperature=0.4, max_tokens=99)
    dspy.configure(lm=lm, adapter=dspy.JSONAdapter(), rm=Retriever(5, "retriever-key-" + str(123)), num_threads=3)


def unset() -> None:
    dspy.configure(lm=None, adapter=None, rm=None, num_threads=8)


@pytest.mark.parametrize("by_dspy", [False, True])
def test_loading_restores_the_settings_that_nobody_has_set(by_dspy):
    configure()
    mlflow.dspy.save_model(
        dspy.Predict("question -> answer"), "model", use_dspy_model_save=by_dspy, infer_code_paths=False
    )
    unset()
    mlflow.dspy.load_model("model")
    assert (dspy.settings.lm.model, dspy.settings.lm.kwargs["max_tokens"]) == ("scripted/model", 99)
    assert isinstance(dspy.settings.adapter, dspy.JSONAdapter)
    assert (dspy.settings.rm.k, dspy.settings.rm.api_key) == (5, None)


def test_loading_leaves_the_settings_that_the_user_has_set():
    configure()
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model", infer_code_paths=False)
    unset()
    mine = scripted_lm({"answer": "mine"})
    dspy.configure(lm=mine)
    mlflow.dspy.load_model("model")
    assert dspy.settings.lm is mine
    assert isinstance(dspy.settings.adapter, dspy.JSONAdapter)


def test_loading_another_model_replaces_what_loading_the_first_has_set():
    for name, lm, adapter in [("a", "scripted/a", None), ("b", "scripted/b", dspy.JSONAdapter())]:
        dspy.configure(lm=scripted_lm({"answer": name}, model=lm), adapter=adapter)
        mlflow.dspy.save_model(dspy.Predict("question -> answer"), name, infer_code_paths=False)
    unset()
    for name, adapter in [("a", type(None)), ("b", dspy.JSONAdapter), ("a", type(None))]:
        mlflow.dspy.load_model(name)
        assert dspy.settings.lm.model == f"scripted/{name}"
        assert type(dspy.settings.adapter) is adapter


def test_loading_works_in_a_thread_that_dspy_does_not_let_configure():
    configure()
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model", infer_code_paths=False)
    unset()
    answers = []

    def load_and_call():
        answers.append(mlflow.dspy.load_model("model")(question="?").answer)

    thread = threading.Thread(target=load_and_call)
    thread.start()
    thread.join()
    assert answers == ["x"]
    assert dspy.settings.lm.model == "scripted/model"


def test_past_calls_do_not_travel_and_stay_with_the_live_program():
    lm = scripted_lm({"answer": "x", "query": "x", "reasoning": "x"})
    dspy.configure(lm=lm)
    program = QA()
    program(question="Who asked this before?")
    lm.script.requests.clear()
    loaded = reloaded(program)
    assert program.history and lm.history
    assert not loaded.history
    saved = Path("model/data/program.pkl").read_bytes()
    assert b"asked this before" not in saved


@pytest.mark.parametrize("as_path", [str, Path])
def test_a_folder_is_named_by_text_or_path_relative_or_not(as_path, tmp_path):
    mlflow.dspy.save_model(compiled(), as_path("a/b/model"))
    assert mlflow.dspy.load_model(as_path("a/b/model")).demos
    assert mlflow.dspy.load_model(as_path(tmp_path / "a/b/model")).demos
    assert mlflow.dspy.load_model((tmp_path / "a/b/model").as_uri()).demos


def test_an_empty_folder_that_exists_is_filled(tmp_path):
    mlflow.dspy.save_model(compiled(), tmp_path)
    assert (tmp_path / "MLmodel").is_file()

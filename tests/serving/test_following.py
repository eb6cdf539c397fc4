"""A served model follows the alias of its prompts: checked where it loads, looked at again while requests go on."""

import sqlite3
import time
from contextlib import closing

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import PromptError
from mlflow_dspy_plugin.programs.origin import origin_of
from tests.fakes.scripted import scripted_lm
from tests.serving.telling import Says, SaysBoth, SaysByTool, SaysByToolOfAnother
from tests.tracing.logs import warnings_logged

URI = "prompts:/qa@production"


def register(instructions, alias="production", demos=(), program=None):
    program = program or Says()
    ask = program.teller.ask if isinstance(program, SaysByToolOfAnother) else program.ask
    ask.signature, ask.demos = ask.signature.with_instructions(instructions), list(demos)
    mlflow.dspy.register_prompts(program, "qa", alias=alias)


def logged(program=None, **options):
    dspy.configure(lm=scripted_lm({"answer": "x"}))
    info = mlflow.dspy.log_model(program or Says(), name="model", **options)
    return mlflow.pyfunc.load_model(info.model_uri)


def answer(model):
    return model.predict({"question": "Who?"})["answer"]


def answers_until(model, wanted):
    """Answers until one is as wanted; each is what some version says."""
    deadline, given = time.monotonic() + 60, []
    while not given or given[-1] != wanted:
        assert time.monotonic() < deadline, given
        given.append(answer(model))
    return given


@pytest.fixture
def at_every_request(monkeypatch):
    monkeypatch.setenv(names.ENV_PROMPTS_SECONDS, "0")


def test_it_says_what_its_prompts_say_where_it_loads():
    register("One.")
    assert answer(logged(follow_prompts=URI)) == "One."


def test_without_the_option_it_says_what_it_was_logged_with():
    register("One.")
    assert answer(logged()) == dspy.Predict("question -> answer").signature.instructions


def test_it_takes_the_version_that_the_alias_means_later(at_every_request):
    register("One.")
    model = logged(follow_prompts=URI)
    assert answer(model) == "One."
    register("Two.", demos=[dspy.Example(question="a", answer="b")])
    assert set(answers_until(model, "Two.")) <= {"One.", "Two."}
    assert model.get_raw_model().ask.demos[0].question == "a"
    mlflow.genai.set_prompt_alias("qa", "production", 1)
    answers_until(model, "One.")


def test_methods_that_are_tools_ask_the_predictors_that_follow(at_every_request):
    register("One.")
    model = logged(SaysByTool(), follow_prompts=URI)
    assert answer(model) == "One."
    register("Two.")
    answers_until(model, "Two.")


def test_tools_of_a_module_that_comes_after_them_ask_the_predictors_that_follow(at_every_request):
    register("One.", program=SaysByToolOfAnother())
    model = logged(SaysByToolOfAnother(), follow_prompts=URI)
    assert answer(model) == "One."
    register("Two.", program=SaysByToolOfAnother())
    answers_until(model, "Two.")


def test_it_is_not_looked_at_before_the_time():
    register("One.")
    model = logged(follow_prompts=URI)
    register("Two.")
    assert [answer(model) for _ in range(3)] == ["One."] * 3


def test_a_version_by_its_number_stays(at_every_request):
    register("One.")
    model = logged(follow_prompts="prompts:/qa/1")
    register("Two.")
    assert [answer(model) for _ in range(3)] == ["One."] * 3


def test_the_environment_names_others_or_none(monkeypatch):
    register("One.")
    register("Two.", alias="staging")
    monkeypatch.setenv(names.ENV_PROMPTS, "prompts:/qa@staging")
    assert answer(logged(follow_prompts=URI)) == "Two."
    assert answer(logged()) == "Two."
    monkeypatch.setenv(names.ENV_PROMPTS, "false")
    assert answer(logged(follow_prompts=URI)).startswith("Given the fields")


def test_a_request_does_not_wait_for_the_registry(at_every_request, store):
    register("One.")
    model = logged(follow_prompts=URI)
    register("Two.")
    with closing(sqlite3.connect(store, isolation_level=None)) as registry:
        # Whoever reads it now waits.
        registry.execute("BEGIN EXCLUSIVE")
        assert [answer(model) for _ in range(5)] == ["One."] * 5
        # The look that the first of them began.
        assert model._model_impl._loaded._look.is_alive()
        registry.execute("ROLLBACK")
    answers_until(model, "Two.")


def test_what_was_there_stays_while_prompts_cannot_be_followed(at_every_request):
    register("One.")
    model = logged(follow_prompts=URI)
    version = mlflow.genai.register_prompt("qa", "Answer {{nothing}}.").version
    mlflow.genai.set_prompt_alias("qa", "production", version)
    deadline = time.monotonic() + 60
    with warnings_logged() as messages:
        while not messages:
            assert answer(model) == "One." and time.monotonic() < deadline
    assert "The prompts qa@production cannot be followed now, so what was there stays" in messages[0]
    assert "{{nothing}}" in messages[0]
    register("Three.")
    answers_until(model, "Three.")


def test_what_was_there_stays_while_the_alias_means_prompts_of_two_registrations(at_every_request):
    program = SaysBoth()
    program.check.signature = program.check.signature.with_instructions("Right?")
    register("One.", program=program)
    model = logged(SaysBoth(), follow_prompts=URI)
    program.check.signature = program.check.signature.with_instructions("Wrong?")
    register("Two.", alias=None, program=program)
    mlflow.genai.set_prompt_alias("qa.ask", "production", 2)
    deadline = time.monotonic() + 60
    with warnings_logged() as messages:
        while not messages:
            assert answer(model) == "One. Right?" and time.monotonic() < deadline
    assert "would mix prompts that were not registered together: qa.ask/2, qa.check/1" in messages[0]
    mlflow.genai.set_prompt_alias("qa.check", "production", 2)
    assert set(answers_until(model, "Two. Wrong?")) <= {"One. Right?", "Two. Wrong?"}


@pytest.mark.parametrize("task", [None, "llm/v1/chat"])
def test_a_model_whose_prompts_are_not_there_does_not_load(task):
    with pytest.raises(PromptError, match="The registry has no prompt 'qa' with the alias 'production'"):
        logged(follow_prompts=URI, task=task)


@pytest.mark.parametrize("uri", ["qa@production", "models:/qa/1", 3])
def test_what_is_no_uri_is_refused_before_anything_is_logged(uri):
    with pytest.raises(PromptError, match="is no URI of prompts"):
        logged(follow_prompts=uri)
    assert not mlflow.search_logged_models(output_format="list")


def test_a_chat_model_follows_too(at_every_request):
    register("One.")
    model = logged(follow_prompts=URI, task="llm/v1/chat")

    def says(wanted):
        request = {"messages": [{"role": "user", "content": "Who?"}]}
        return model.predict(request)["choices"][0]["message"]["content"] == wanted

    assert says("One.")
    register("Two.")
    deadline = time.monotonic() + 60
    while not says("Two."):
        assert time.monotonic() < deadline


def test_the_program_that_was_loaded_stays_and_what_it_holds_beside_is_shared():
    register("One.")
    model = logged(follow_prompts=URI)
    loaded, program = model._model_impl._loaded, model.get_raw_model()
    assert loaded._as_logged.ask.signature.instructions.startswith("Given the fields")
    assert program.steps[0] is program.ask is not loaded._as_logged.ask
    assert origin_of(program) == origin_of(loaded._as_logged) == model.model_id

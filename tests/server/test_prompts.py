"""A model that follows prompts of MLflow's registry does so behind the production server: real registry, real requests."""

import sqlite3
import time
from contextlib import closing

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import PromptError
from mlflow_dspy_plugin.server.models import load_model
from tests.conftest import store  # noqa: F401, the registry is in it
from tests.server.running import Running, running, wait_until
from tests.serving.telling import Says

URI = "prompts:/qa@production"
CHAT = {"messages": [{"role": "user", "content": "Who?"}]}


def register(instructions: str) -> None:
    program = Says()
    program.ask.signature = program.ask.signature.with_instructions(instructions)
    mlflow.dspy.register_prompts(program, "qa", alias="production")


@pytest.fixture
def following(save, monkeypatch) -> str:
    """The folder of a model that follows prompts, and looks after them at every request."""
    monkeypatch.setenv(names.ENV_PROMPTS_SECONDS, "0")
    register("One.")
    return save(Says(), follow_prompts=URI)


def invoked(server: Running) -> str:
    return server.ask({"inputs": ["Who?"]}).json()["predictions"]["answer"]


def completed(server: Running) -> str:
    return server.ask(CHAT, "/v1/chat/completions").json()["choices"][0]["message"]["content"]


def responded(server: Running) -> str:
    return server.ask({"input": "Who?"}, "/v1/responses").json()["output"][0]["content"][0]["text"]


def prompts(server: Running) -> dict | None:
    return server.client.get("/v1/models/qa").json()["prompts"]


@pytest.mark.parametrize("answer", [invoked, completed, responded])
def test_what_is_answered_follows_the_alias_of_the_prompts(following, answer):
    with running(following) as server:
        assert answer(server) == "One."
        register("Two.")
        wait_until(lambda: answer(server) == "Two.")
        assert prompts(server) == {"qa": 2}
        mlflow.genai.set_prompt_alias("qa", "production", 1)
        wait_until(lambda: answer(server) == "One.")


def test_a_model_that_follows_no_prompts_names_none(qa):
    with running(qa) as server:
        assert prompts(server) is None


def test_neither_the_event_loop_nor_a_request_waits_for_the_registry(following, store):  # noqa: F811
    with running(following) as server, closing(sqlite3.connect(store, isolation_level=None)) as registry:
        register("Two.")
        # Whoever reads it now waits.
        registry.execute("BEGIN EXCLUSIVE")
        assert [invoked(server), completed(server), invoked(server)] == ["One."] * 3
        assert server.client.get("/ping").status_code == 200
        # The look that the first of them began.
        assert server.app.state.server.models.current().prompts._look.is_alive()
        registry.execute("ROLLBACK")
        wait_until(lambda: invoked(server) == "Two.")


def test_a_model_whose_prompts_are_not_there_is_not_served(save):
    folder = save(dspy.Predict("question -> answer"), follow_prompts=URI)
    with pytest.raises(PromptError, match="The registry has no prompt 'qa' with the alias 'production'"):
        load_model("qa", folder)


def test_a_version_whose_prompts_are_not_there_leaves_the_old_one(following, lm):
    def log(program: dspy.Module, uri: str) -> str:
        options = {"registered_model_name": "asking", "pip_requirements": [], "follow_prompts": uri}
        return str(mlflow.dspy.log_model(program, name="qa", **options).registered_model_version)

    def move(version: str) -> None:
        mlflow.MlflowClient().set_registered_model_alias("asking", "prod", version)

    first, second = log(Says(), URI), log(Says(), "prompts:/none@production")
    move(first)
    with running({"qa": "models:/asking@prod"}, reload=0.01) as server:
        move(second)
        deadline = time.monotonic() + 60
        while (told := server.client.get("/v1/models/qa").json())["reload_failure"] is None:
            assert time.monotonic() < deadline
        assert (told["version"], told["prompts"]) == (first, {"qa": 1})
        assert "The registry has no prompt 'none' with the alias 'production'" in told["reload_failure"]
        assert invoked(server) == "One."

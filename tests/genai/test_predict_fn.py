"""The `predict_fn` of a model that follows prompts says what is served."""

import time

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import PromptError
from tests.serving.telling import Says

URI = "prompts:/qa@production"


def register(instructions):
    program = Says()
    program.ask.signature = program.ask.signature.with_instructions(instructions)
    mlflow.dspy.register_prompts(program, "qa", alias="production")


def predict_fn(**options):
    return mlflow.dspy.to_predict_fn(mlflow.dspy.log_model(Says(), name="qa", **options).model_uri)


def test_it_says_what_the_served_model_says():
    register("One.")
    info = mlflow.dspy.log_model(Says(), name="qa", follow_prompts=URI)
    served = mlflow.pyfunc.load_model(info.model_uri).predict({"question": "Who?"})
    assert mlflow.dspy.to_predict_fn(info.model_uri)(question="Who?").answer == served["answer"] == "One."


def test_it_follows_while_it_is_called(monkeypatch):
    monkeypatch.setenv(names.ENV_PROMPTS_SECONDS, "0")
    register("One.")
    ask = predict_fn(follow_prompts=URI)
    assert ask(question="Who?").answer == "One."
    register("Two.")
    deadline = time.monotonic() + 60
    while ask(question="Who?").answer != "Two.":
        assert time.monotonic() < deadline


def test_without_the_option_it_says_what_it_was_logged_with():
    register("One.")
    assert predict_fn()(question="Who?").answer == dspy.Predict("question -> answer").signature.instructions


def test_it_is_not_made_where_the_prompts_are_not_there():
    with pytest.raises(PromptError, match="The registry has no prompt 'qa' with the alias 'production'"):
        predict_fn(follow_prompts=URI)

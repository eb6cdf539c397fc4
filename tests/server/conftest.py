"""A language model over HTTP, and models that were saved with it."""

import dspy
import mlflow
import pytest

from tests.fakes.openai_server import OpenAIServer, Reply, Usage
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401

ANSWER = "the black bear of the north"


def bears(messages, body):
    """Answers every question alike."""
    return Reply(chat_text({"reasoning": "There is a show.", "answer": ANSWER}), usage=Usage(10, 5))


@pytest.fixture
def lm():
    """The language model that the models of a test ask; what it is called is what it answers by."""
    with OpenAIServer({"bears": bears}) as server:
        dspy.configure(lm=language_model(server), adapter=dspy.ChatAdapter())
        yield server


def language_model(server: OpenAIServer, **options) -> dspy.LM:
    """DSPy's end of it."""
    return dspy.LM("openai/bears", api_base=server.base_url, **{"num_retries": 0, "cache": False, **options})


@pytest.fixture
def save(tmp_path, lm):
    """Saves a program, and tells the folder."""

    def save(program, name="model", **options) -> str:
        mlflow.dspy.save_model(program, tmp_path / name, **options)
        return str(tmp_path / name)

    return save


@pytest.fixture
def qa(save):
    """The folder of a model that answers questions."""
    return save(dspy.Predict("question -> answer"))

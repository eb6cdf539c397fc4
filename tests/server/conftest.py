"""A language model over HTTP, and models that were saved with it."""

import dspy
import mlflow
import pytest

from tests.fakes.openai_server import OpenAIServer, Reply, Usage
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401
from tests.server.running import running

# Longer than what DSPy holds back.
ANSWER = "the black bear of the north, which is the only one of its kind that was seen in these woods"


def bears(messages, body):
    """Answers every question alike."""
    return Reply(chat_text({"answer": ANSWER}), usage=Usage(10, 5))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A language model, and a server of a model that asks it, for all tests of a file."""
    folder = tmp_path_factory.mktemp("shared") / "model"
    with OpenAIServer({"bears": bears}) as lm:
        with dspy.context(lm=language_model(lm), adapter=dspy.ChatAdapter()):
            mlflow.dspy.save_model(dspy.Predict("question -> answer"), folder)
        with running(folder) as server:
            yield lm, server


@pytest.fixture
def server(shared):
    """That server."""
    return shared[1]


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

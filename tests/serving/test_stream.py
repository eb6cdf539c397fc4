"""`predict_stream` over a socket: chunks as the language model sends them."""

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import ProgramError
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401

# Put together here: this file is shipped with the models of its classes, and may not hold the key.
KEY = "-".join(["key", "of", "the", "tests", "1"])
# Longer than the ten words that old releases of DSPy hold back.
ANSWER = {"reasoning": "bears are many " * 9 + "end", "answer": "the black bear " * 9 + "end"}


@pytest.fixture
def server():
    with OpenAIServer({"bears": lambda messages, body: chat_text(ANSWER)}) as running:
        yield running


@pytest.fixture
def saved(server, monkeypatch):
    """Saves a program with an LM behind the server, and loads it as a pyfunc model."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def save(program: dspy.Module, **options):
        dspy.configure(lm=dspy.LM("openai/bears", api_base=server.base_url, cache=False, num_retries=0))
        mlflow.dspy.save_model(program, "model", infer_code_paths=False, **options)
        dspy.configure(lm=None)
        return mlflow.pyfunc.load_model("model")

    return save


@pytest.mark.parametrize(
    ("example", "value"),
    [("What?", "What?"), ("What?", {"question": "What?"}), ({"question": "x"}, {"question": "What?"})],
)
def test_a_stream_gives_the_chunks_of_every_text_field_as_they_come(saved, server, example, value):
    model = saved(dspy.ChainOfThought("question -> answer"), input_example=example)
    chunks = list(model.predict_stream(value))
    assert all(chunk.keys() >= {"predict_name", "signature_field_name", "chunk"} for chunk in chunks)
    for field, text in ANSWER.items():
        parts = [chunk["chunk"] for chunk in chunks if chunk["signature_field_name"] == field]
        assert len(parts) > 1
        # dspy 3.1 to 3.3 send the blank line between two fields as the end of the first.
        assert "".join(parts).rstrip() == text
    assert {chunk["predict_name"] for chunk in chunks} == {"predict"}
    (request,) = server.requests
    assert request.body["stream"] is True
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_a_stream_shows_its_first_chunk_before_the_last_is_sent_and_may_be_abandoned(saved, server):
    server.chunk_latency = 0.02
    model = saved(dspy.Predict("question -> reasoning, answer"), input_example="What?")
    stream = model.predict_stream("What?")
    first = next(stream)
    assert first["signature_field_name"] == "reasoning"
    assert dspy.settings.lm is None
    stream.close()
    assert dspy.settings.lm is None


def test_two_streams_at_once_do_not_mix(saved):
    model = saved(dspy.Predict("question -> reasoning, answer"), input_example="What?")
    pairs = list(zip(model.predict_stream("a"), model.predict_stream("b"), strict=True))
    assert [left["chunk"] for left, _ in pairs] == [right["chunk"] for _, right in pairs]


def test_an_error_of_the_language_model_leaves_the_stream(saved, server):
    model = saved(dspy.Predict("question -> reasoning, answer"), input_example="What?")
    del server.models["bears"]
    with pytest.raises(Exception, match="The model `bears` does not exist"):
        list(model.predict_stream("What?"))


class Fails(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question: str):
        raise ZeroDivisionError("of the program")


def test_an_error_of_the_program_leaves_the_stream_as_it_is(saved):
    model = saved(Fails())
    with pytest.raises(ZeroDivisionError, match="of the program"):
        list(model.predict_stream({"question": "What?"}))


class TwoPredictors(dspy.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = dspy.Predict("question -> query"), dspy.Predict("query -> answer")

    def forward(self, question: str):
        return self.second(query=self.first(question=question).query)


@pytest.mark.parametrize(
    "program",
    [lambda: dspy.Predict("question -> answer: int"), TwoPredictors],
    ids=["not all text", "unknown outputs"],
)
def test_what_cannot_be_streamed_is_said_to_mlflow(saved, program):
    model = saved(program(), input_example={"question": "What?"})
    with pytest.raises(mlflow.MlflowException, match="(?i)stream"):
        list(model.predict_stream({"question": "What?"}))


def test_a_program_of_unknown_outputs_says_why_it_cannot_be_streamed(saved):
    model = saved(TwoPredictors())
    with pytest.raises(ProgramError, match="TwoPredictors cannot be streamed: its output fields are not known"):
        model._model_impl.predict_stream({"question": "What?"})

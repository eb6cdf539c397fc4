"""`predict_stream` over a socket: chunks as the language model sends them, and the whole answer at the end."""

import asyncio
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import CallError
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
    *chunks, last = model.predict_stream(value)
    assert all(chunk.keys() >= {"predict_name", "signature_field_name", "chunk"} for chunk in [*chunks, last])
    assert (last["chunk"], last["prediction"]) == ("", ANSWER)
    # Code that adds up the chunks of each field, as for MLflow's own flavor, adds nothing.
    assert last["signature_field_name"] in ANSWER
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


def test_an_error_of_the_program_leaves_the_stream_as_the_program_s(saved):
    model = saved(Fails())
    with pytest.raises(CallError, match="The program raised ZeroDivisionError: of the program") as raised:
        list(model.predict_stream({"question": "What?"}))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


class TwoPredictors(dspy.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = dspy.Predict("question -> query"), dspy.Predict("query -> answer")

    def forward(self, question: str):
        return self.second(query=self.first(question=question).query)


def test_the_text_fields_of_all_predictors_are_streamed_by_their_name(saved, server):
    server.models["bears"] = lambda messages, body: chat_text({"query": "bears " * 20, "answer": "black " * 20})
    *chunks, last = saved(TwoPredictors()).predict_stream({"question": "What?"})
    assert [name for name, _ in itertools.groupby(chunk["predict_name"] for chunk in chunks)] == ["first", "second"]
    assert {chunk["signature_field_name"] for chunk in chunks if chunk["predict_name"] == "first"} == {"query"}
    assert last["prediction"]["answer"].startswith("black black")


class Typed(dspy.Signature):
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()
    count: int = dspy.OutputField()


def test_typed_fields_come_with_the_prediction_at_the_end(saved, server):
    server.models["bears"] = lambda messages, body: chat_text({"answer": "black " * 20, "count": 7})
    *chunks, last = saved(dspy.Predict(Typed)).predict_stream({"question": "What?"})
    assert {chunk["signature_field_name"] for chunk in chunks} == {"answer"}
    assert last["prediction"]["count"] == 7


class Says(dspy.Module):
    """Asks no language model, and returns what is no prediction."""

    def forward(self, question: str):
        return question


class SaysLater(dspy.Module):
    async def aforward(self, question: str):
        return {"said": question}


@pytest.mark.parametrize(("program", "answer"), [(Says, "What?"), (SaysLater, {"said": "What?"})])
def test_whatever_a_program_returns_ends_the_stream(program, answer, saved):
    [last] = saved(program()).predict_stream({"question": "What?"})
    assert last["prediction"] == answer


def look(place: str) -> str:
    """Looks there."""
    return f"a bear in {place}"


@pytest.mark.parametrize("asked", [True, False])
def test_messages_of_tools_are_told_where_they_are_asked_for(asked, saved, server):
    steps = [
        {"next_thought": "look", "next_tool_name": "look", "next_tool_args": {"place": "the zoo"}},
        {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}},
        {"reasoning": "seen", "answer": "black"},
    ]
    answers = iter(steps)
    server.models["bears"] = lambda messages, body: chat_text(next(answers))
    model = saved(dspy.ReAct("question -> answer", tools=[look]))
    items = list(model.predict_stream({"question": "What?"}, params={"status_messages": asked}))
    told = [item["status"] for item in items if "status" in item]
    assert bool(told) == asked
    assert all("look" in message or "finish" in message or "Tool" in message for message in told)
    assert items[-1]["prediction"]["answer"] == "black"


def test_a_stream_that_is_closed_stops_the_language_model(saved, server):
    server.chunk_latency = 0.05
    stream = saved(dspy.Predict("question -> reasoning, answer")).predict_stream({"question": "What?"})
    next(stream)
    assert server.streaming == 1
    stream.close()
    deadline = time.monotonic() + 5
    while server.streaming and time.monotonic() < deadline:
        time.sleep(0.01)
    # It would send for some seconds more.
    assert server.streaming == 0
    assert server.request_count == 1


def test_an_adapter_that_dspy_cannot_stream_gives_the_prediction_alone(saved, server):
    dspy.configure(adapter=dspy.TwoStepAdapter(dspy.LM("openai/bears", api_base=server.base_url, cache=False)))
    [last] = saved(dspy.Predict("question -> reasoning, answer")).predict_stream({"question": "What?"})
    assert set(last["prediction"]) == {"reasoning", "answer"}


class Blocks(dspy.Module):
    """Holds up its event loop while its language model answers."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    async def aforward(self, question: str):
        self.ask(question=question)
        return await self.ask.acall(question=question)


def test_a_program_that_blocks_its_event_loop_is_streamed_in_full(saved, server):
    *chunks, last = saved(Blocks()).predict_stream({"question": "What?"})
    assert last["prediction"]["answer"] == ANSWER["answer"]
    assert "".join(chunk["chunk"] for chunk in chunks).count("end") == 2
    assert server.request_count == 2


def test_more_streams_than_dspy_has_workers_all_end(saved, server):
    server.latency = 0.05
    model = saved(TwoPredictors())
    server.models["bears"] = lambda messages, body: chat_text({"query": "bears", "answer": "black"})
    with ThreadPoolExecutor(24) as pool:
        streams = [pool.submit(lambda: [*model.predict_stream({"question": "What?"})][-1]) for _ in range(24)]
        assert {stream.result(30)["prediction"]["answer"] for stream in streams} == {"black"}


class Tells(dspy.Module):
    loops = []

    async def aforward(self, question: str):
        self.loops.append(asyncio.get_running_loop())
        return question


def test_the_event_loop_of_a_stream_is_closed_once_its_end_is_told(saved):
    """The process may end then, and a thread that still closes one would say so."""
    list(saved(Tells()).predict_stream({"question": "What?"}))
    assert Tells.loops.pop().is_closed()

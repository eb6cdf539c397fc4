"""What `mlflow models serve` and servers of an event loop call: as `predict`, but holding up nobody."""

import asyncio
import time

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import CallError, InputError
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401

PATIENCE = 20


class Synchronous(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    def forward(self, question):
        return self.predict(question=question)


class Leaves(dspy.Module):
    """Raises what loops and tasks take for their own."""

    async def aforward(self, question):
        raise {"exit": SystemExit(1), "cancel": asyncio.CancelledError()}[question]


@pytest.fixture
def lm():
    with OpenAIServer({"bears": lambda messages, body: chat_text({"answer": "bear", "reasoning": "why"})}) as server:
        yield server


@pytest.fixture
def served(lm):
    """Saves a program, and loads what MLflow calls."""

    def load(program, **options):
        with dspy.context(lm=dspy.LM("openai/bears", api_base=lm.base_url, cache=False, num_retries=0)):
            mlflow.dspy.save_model(program, "model", **options)
        return mlflow.pyfunc.load_model("model")._model_impl

    return load


async def together(*coroutines):
    return await asyncio.wait_for(asyncio.gather(*coroutines), PATIENCE)


@pytest.mark.parametrize("program", [dspy.ChainOfThought("question -> answer"), Synchronous()], ids=["async", "sync"])
@pytest.mark.parametrize("given", ["why?", {"question": "why?"}, ["one", "two", "three"]], ids=["text", "row", "rows"])
def test_it_answers_as_predict_does(program, given, served):
    model = served(program)
    assert asyncio.run(model.apredict(given)) == model.predict(given)


@pytest.mark.parametrize("program", [dspy.Predict("question -> answer"), Synchronous()], ids=["async", "sync"])
def test_calls_are_side_by_side(program, served, lm):
    model = served(program)
    asyncio.run(model.apredict("warm up"))
    lm.latency, lm.most_at_once = 0.5, 0

    async def all_of_them():
        return await together(*(model.apredict("why?", {"temperature": number / 10}) for number in range(5)))

    assert asyncio.run(all_of_them()) == [{"answer": "bear"}] * 5
    assert lm.most_at_once == 5
    assert sorted(request.body["temperature"] for request in [*lm.requests][-5:]) == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_a_batch_keeps_its_bound_and_the_first_failure_raises_for_all(served, lm, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_PREDICT_THREADS", "3")
    model = served(dspy.Predict("question -> answer"))
    lm.latency = 0.2
    answers = asyncio.run(model.apredict(["why?", {"question": "who?"}, {"nobody": "knows"}] * 3, {"on_error": "row"}))
    assert lm.most_at_once == 3
    assert [answer["answer"] for answer in answers] == ["bear", "bear", None] * 3
    with pytest.raises(InputError, match="Row 1 of 3"):
        asyncio.run(model.apredict(["why?", {"nobody": "knows"}, {"nobody": "either"}]))


@pytest.mark.parametrize("way", ["exit", "cancel"])
def test_what_loops_take_for_their_own_is_an_error_of_the_program(way, served):
    model = served(Leaves())
    with pytest.raises(CallError, match="The program raised"):
        asyncio.run(model.apredict({"question": way}))


@pytest.mark.parametrize("rows", ["why?", ["why?"] * 4], ids=["row", "rows"])
def test_to_cancel_it_ends_the_call_of_the_language_model(rows, served, lm):
    model = served(dspy.Predict("question -> answer"))
    lm.latency = PATIENCE

    async def cancelled():
        task = asyncio.ensure_future(model.apredict(rows))
        while not lm.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Nothing of it is left in the loop.
        assert asyncio.all_tasks() <= {asyncio.current_task()} or await settled()
        return time.monotonic() - begun

    async def settled():
        await asyncio.sleep(0.1)
        return asyncio.all_tasks() == {asyncio.current_task()}

    assert asyncio.run(cancelled()) < PATIENCE / 2


@pytest.mark.parametrize("program", [dspy.Predict("question -> answer"), Synchronous()], ids=["async", "sync"])
def test_a_stream_is_the_one_of_predict_stream(program, served):
    model = served(program)

    async def streamed():
        return [item async for item in model.apredict_stream("why?")]

    assert asyncio.run(streamed()) == list(model.predict_stream("why?"))


def test_a_chat_and_its_stream_are_those_of_predict(served):
    model = served(dspy.Predict("question -> answer"), task="llm/v1/chat")
    request = {"messages": [{"role": "user", "content": "why?"}]}

    async def both():
        return await model.apredict(request), [chunk async for chunk in model.apredict_stream(request)]

    completion, chunks = asyncio.run(both())
    texts = [completion["choices"][0]["message"]["content"]]
    texts.append("".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks))
    assert texts == ["bear", "bear"]
    assert chunks[-1]["choices"][0]["finish_reason"] == completion["choices"][0]["finish_reason"] == "stop"


def test_closing_a_stream_early_ends_the_call_of_the_language_model(served, lm):
    model = served(dspy.Predict("question -> answer"))

    async def closed():
        stream = model.apredict_stream("why?")
        await anext(stream)
        await stream.aclose()
        for _ in range(PATIENCE * 100):
            if asyncio.all_tasks() == {asyncio.current_task()}:
                return True
            await asyncio.sleep(0.01)
        return False

    assert asyncio.run(closed())


def test_the_failure_of_a_stream_is_told_to_whoever_iterates(served, lm):
    model = served(Leaves())

    async def streamed():
        return [item async for item in model.apredict_stream({"question": "exit"})]

    with pytest.raises(CallError, match="The program raised SystemExit"):
        asyncio.run(streamed())

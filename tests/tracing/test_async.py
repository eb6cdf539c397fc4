"""Coroutines, streams, and what is cancelled or abandoned."""

import asyncio
import contextlib
import gc

import dspy
import mlflow
import pytest

from tests.fakes.scripted import Answer, scripted_lm
from tests.tracing.trees import open_traces, outline, predictor, under

PREDICT = dspy.Predict("question -> answer")


def asked(question):
    return predictor(f"Predict.forward LLM OK {{'question': '{question}'}} -> {{'answer': 'a'}}")


class Gathering(dspy.Module):
    """Asks three at once."""

    async def aforward(self):
        results = await asyncio.gather(*(PREDICT.acall(question=str(i)) for i in range(3)))
        return dspy.Prediction(answers=[result.answer for result in results])


def test_gathered_calls_are_below_the_module_that_gathers(trace):
    asyncio.run(Gathering().acall())
    line = "Gathering.forward CHAIN OK {} -> {'answers': ['a', 'a', 'a']}"
    assert outline(trace()) == under(line, asked(0), asked(1), asked(2))


def test_gathered_programs_have_a_trace_each(traces):
    async def main():
        await asyncio.gather(*(PREDICT.acall(question=str(i)) for i in range(4)))

    asyncio.run(main())
    assert sorted(map(outline, traces())) == [asked(i) for i in range(4)]


def test_asyncify_keeps_the_parent_in_its_thread(trace):
    class Asyncified(dspy.Module):
        async def aforward(self):
            return await dspy.asyncify(PREDICT)(question="q")

    asyncio.run(Asyncified().acall())
    assert outline(trace()) == under("Asyncified.forward CHAIN OK {} -> {'answer': 'a'}", asked("q"))


def test_an_async_tool_is_traced(trace):
    async def search(query: str) -> str:
        return f"about {query}"

    asyncio.run(dspy.Tool(search).acall(query="bears"))
    assert outline(trace()) == "Tool.search TOOL OK {'query': 'bears'} -> about bears\n"


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_a_streamed_program_is_one_trace(is_async, trace):
    async def main():
        listeners = [dspy.streaming.StreamListener("answer")]
        program = dspy.streamify(PREDICT, stream_listeners=listeners, is_async_program=is_async)
        return [chunk async for chunk in program(question="q")]

    with dspy.context(lm=scripted_lm({"answer": "one two three four five six seven"})):
        chunks = asyncio.run(main())
    assert chunks[-1].answer == "one two three four five six seven"
    assert len(chunks) > 2
    line = "Predict.forward LLM OK {'question': 'q'} -> {'answer': 'one two three four five six seven'}"
    assert outline(trace()) == predictor(line)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "left to the event loop"])
def test_an_abandoned_stream_leaves_no_span_open_and_logs_no_error(closed, log):
    """Of an async program: the thread of a sync one waits for ever where its event loop has gone, in DSPy itself."""

    async def main():
        listeners = [dspy.streaming.StreamListener("answer")]
        program = dspy.streamify(PREDICT, stream_listeners=listeners, is_async_program=True)
        stream = program(question="q")
        await stream.__anext__()
        if closed:
            # What dspy 3.0 raises when its streams are closed is its own affair.
            with contextlib.suppress(BaseException):
                await stream.aclose()
        return stream

    before = open_traces()
    with dspy.context(lm=scripted_lm({"answer": "one two three four five six"})):
        asyncio.run(main())
    gc.collect()
    assert open_traces() == before
    assert log == []


def test_a_cancelled_call_ends_as_an_error(trace):
    class Waiting(dspy.Module):
        async def aforward(self):
            return await PREDICT.acall(question="q")

    async def main():
        call = asyncio.create_task(Waiting().acall())
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError, match="^$"):
            await call

    with dspy.context(lm=scripted_lm(Answer({"answer": "a"}, latency=30))):
        asyncio.run(main())
    assert outline(trace()) == under(
        "Waiting.forward CHAIN ERROR {} -> None !CancelledError",
        under(
            "Predict.forward LLM ERROR {'question': 'q'} -> None !CancelledError",
            "ChatAdapter.format PARSER OK",
            "LM.__call__ CHAT_MODEL ERROR !CancelledError",
        ),
    )


def test_after_a_timeout_the_task_starts_a_new_trace(traces):
    async def main():
        slow = scripted_lm(Answer({"answer": "late"}, latency=30))
        with pytest.raises(asyncio.TimeoutError, match="^$"):
            await asyncio.wait_for(PREDICT.acall(question="slow", lm=slow), 0.05)
        await PREDICT.acall(question="q")

    asyncio.run(main())
    slow, quick = sorted(traces(), key=lambda found: found.info.request_time)
    assert slow.data.spans[0].status.status_code == "ERROR"
    assert outline(quick) == asked("q")


def test_a_call_that_returns_nothing_while_a_cancellation_is_handled_is_no_error(trace):
    class Cleanup(dspy.Module):
        def forward(self):
            return None

    async def main():
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError:
            Cleanup()()

    asyncio.run(main())
    assert outline(trace()) == "Cleanup.forward CHAIN OK {} -> None\n"


def test_a_span_of_the_user_around_a_stream_is_its_parent(trace):
    async def main():
        with mlflow.start_span("mine"):
            program = dspy.streamify(PREDICT)
            return [chunk async for chunk in program(question="q")]

    asyncio.run(main())
    assert outline(trace()) == under("mine UNKNOWN OK None -> None", asked("q"))

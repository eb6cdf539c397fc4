"""Programs that have only an `aforward`, or both: called from threads and from event loops."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import CallError
from mlflow_dspy_plugin.serving import calls
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401


class Async(dspy.Module):
    """Has no `forward`."""

    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict("question -> answer")

    async def aforward(self, question: str):
        await asyncio.sleep(0.01)
        return await self.predict.acall(question=question)


class Both(Async):
    def forward(self, question: str):
        return dspy.Prediction(answer="synchronous")


class Fails(dspy.Module):
    async def aforward(self, question: str):
        raise ZeroDivisionError("of the program")


def served(program):
    dspy.configure(lm=scripted_lm(lambda messages: {"answer": "re: " + messages[-1]["content"].split()[-1][:0] + "x"}))
    mlflow.dspy.save_model(program, "model")
    dspy.configure(lm=None)
    return mlflow.pyfunc.load_model("model")


def test_an_async_program_answers_one_row_and_many():
    model = served(Async())
    assert model.predict({"question": "one"}) == {"answer": "re: x"}
    assert model._model_impl.predict(["one", "two", "three"]) == [{"answer": "re: x"}] * 3


def test_it_answers_threads_at_once():
    model = served(Async())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: model.predict({"question": str(number)}), range(32)))
    assert answers == [{"answer": "re: x"}] * 32


def test_it_answers_in_an_event_loop_that_runs():
    model = served(Async())

    async def in_loop():
        return model.predict({"question": "one"})

    assert asyncio.run(in_loop()) == {"answer": "re: x"}


def test_it_answers_in_a_call_of_another_async_program():
    inner = served(Async())

    class Outer(dspy.Module):
        async def aforward(self, question: str):
            return inner.predict({"question": question})

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(calls.call, Outer(), (), {"question": "one"}).result(20) == {"answer": "re: x"}


def test_a_program_with_both_is_called_by_its_forward():
    assert served(Both()).predict({"question": "one"}) == {"answer": "synchronous"}


def test_its_error_is_told_as_the_program_s():
    with pytest.raises(CallError, match="The program raised ZeroDivisionError: of the program") as raised:
        served(Fails()).predict({"question": "one"})
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


class Exits(dspy.Module):
    """Ends the process where it is asked to, as command line code does."""

    async def aforward(self, question: str):
        if question == "task":
            await asyncio.gather(asyncio.sleep(10), self.leave())
        return await self.leave() if question == "exit" else question

    async def leave(self):
        raise SystemExit("no such option")


@pytest.mark.parametrize("way", ["exit", "task"])
def test_a_program_that_exits_ends_its_own_call_and_no_other(way):
    model = served(Exits())
    with ThreadPoolExecutor(1) as thread:
        with pytest.raises(CallError, match="The program raised SystemExit: no such option"):
            thread.submit(model.predict, {"question": way}).result(20)
        assert thread.submit(model.predict, {"question": "one"}).result(20) == "one"
        with pytest.raises(CallError, match="The program raised"):
            thread.submit(lambda: list(model.predict_stream({"question": way}))).result(20)
        assert thread.submit(model.predict, {"question": "two"}).result(20) == "two"


class Cancelled(dspy.Module):
    async def aforward(self, question: str):
        raise asyncio.CancelledError


def test_a_call_that_is_cancelled_from_within_is_an_error():
    model = served(Cancelled())
    for fails in (lambda: model.predict({"question": "x"}), lambda: list(model.predict_stream({"question": "x"}))):
        with pytest.raises(CallError, match="The program raised CancelledError"):
            fails()


def test_many_calls_leave_one_thread():
    model = served(Async())
    model.predict({"question": "one"})
    before = threading.active_count()
    for _ in range(20):
        model.predict({"question": "one"})
    assert threading.active_count() == before

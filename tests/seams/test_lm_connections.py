"""More calls of a language model run at once than DSPy's own client has connections."""

import asyncio

import dspy
import pytest

from mlflow_dspy_plugin.seams.lm_connections import allow_connections
from tests.fakes.openai_server import OpenAIServer

CALLS = 130


@pytest.fixture
def slow_server():
    with OpenAIServer(latency=2.0) as server:
        yield server


@pytest.fixture
def lm(slow_server):
    return dspy.LM("openai/echo", api_base=slow_server.base_url, api_key="none", cache=False, num_retries=0)


@pytest.fixture
def allowed():
    undo = allow_connections(1024)
    yield
    undo()


async def ask_at_once(lm):
    return await asyncio.gather(*(lm.acall(f"Say {number}.") for number in range(CALLS)))


def test_as_many_calls_run_at_once_as_are_made(allowed, slow_server, lm):
    answers = asyncio.run(ask_at_once(lm))
    assert [f"Say {number}." in str(answer) for number, answer in enumerate(answers)] == [True] * CALLS
    assert slow_server.most_at_once > 100


def test_a_language_model_stays_what_it_was(slow_server, lm):
    before = lm.dump_state()
    undo = allow_connections(1024)
    lm("hi")
    assert lm.dump_state() == before
    copied = lm.copy(temperature=0.5)
    copied("hi")
    assert copied.dump_state() == {**before, "temperature": 0.5}
    assert dspy.LM(**{**before, "api_key": "none"}).dump_state() == before
    undo()


def test_the_undo_leaves_dspy_as_it_was(lm):
    from dspy import clients

    execution = getattr(clients, "execution", None)
    before = getattr(execution, "RouterConfig", None)
    undo = allow_connections(1024)
    assert (getattr(execution, "RouterConfig", None) is before) == (execution is None)
    undo()
    assert getattr(execution, "RouterConfig", None) is before

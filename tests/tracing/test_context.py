"""`mlflow.dspy.context`: what it says holds for every trace inside it, whoever begins it, and for no other."""

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest

from tests.tracing.trees import outline

PREDICT = dspy.Predict("question -> answer")
SESSION, USER = "mlflow.trace.session", "mlflow.trace.user"


def ask(question="q"):
    return PREDICT(question=question).answer


@mlflow.trace
def mine():
    return "done"


def by_parallel():
    pairs = [(PREDICT, {"question": q}) for q in "12"]
    dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)


def by_evaluate():
    devset = [dspy.Example(question=q, answer="a").with_inputs("question") for q in "12"]
    dspy.Evaluate(devset=devset, metric=lambda *_: 1.0, num_threads=2)(PREDICT)


def by_pool():
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, "12"))


def by_threads():
    threads = [threading.Thread(target=target) for target in (ask, mine)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def by_asyncio():
    async def main():
        await asyncio.gather(*[PREDICT.acall(question=q) for q in "12"])

    asyncio.run(main())


def by_two_calls():
    ask()
    mine()


WAYS = [by_parallel, by_evaluate, by_pool, by_threads, by_asyncio, by_two_calls]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_holds_for_every_trace_inside_it(way, traces, log):
    with mlflow.dspy.context(session_id="s", user="u", tags={"tag": "t"}, metadata={"key": "m"}):
        way()
    way()
    found = sorted(traces(), key=lambda trace: trace.info.request_time)
    said = [
        {key: trace.info.trace_metadata.get(key) for key in (SESSION, USER, "key")}
        | {"tag": trace.info.tags.get("tag")}
        for trace in found
    ]
    assert said[:2] == [{SESSION: "s", USER: "u", "key": "m", "tag": "t"}] * 2
    assert said[2:] == [dict.fromkeys([SESSION, USER, "key", "tag"])] * 2
    assert log == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_is_traced_where_it_is_not_enabled(way, traces, log):
    with mlflow.dspy.context(enabled=False):
        way()
        assert mlflow.get_current_active_span() is None
    assert traces() == []
    ask()
    assert len(traces()) == 1
    assert log == []


def test_nested_ones_add_and_the_inner_wins(traces):
    with mlflow.dspy.context(session_id="outer", tags={"a": "outer", "b": "outer"}, metadata={"m": "outer"}):
        with mlflow.dspy.context(user="inner", tags={"b": "inner"}, enabled=False):
            ask("silent")
            with mlflow.dspy.context(session_id="inner", enabled=True):
                ask("inner")
        ask("outer")
    inner, outer = sorted(traces(), key=lambda trace: trace.info.request_time)
    for found, expected in (
        (inner, {SESSION: "inner", USER: "inner", "a": "outer", "b": "inner", "m": "outer"}),
        (outer, {SESSION: "outer", USER: None, "a": "outer", "b": "outer", "m": "outer"}),
    ):
        said = {**found.info.trace_metadata, **found.info.tags}
        assert {key: said.get(key) for key in expected} == expected


def test_a_call_that_is_silenced_inside_a_program_is_left_out_of_its_trace(trace, log):
    class Outer(dspy.Module):
        def forward(self):
            with mlflow.dspy.context(enabled=False):
                ask()
                mine()
            return dspy.Prediction(done=True)

    Outer()()
    assert outline(trace()) == "Outer.forward CHAIN OK {} -> {'done': True}\n"
    assert log == []


def test_nobody_else_names_the_trace(trace):
    with mlflow.dspy.context(tags={"mlflow.traceName": "other"}):
        mine()
    assert trace().info.tags["mlflow.traceName"] == "mine"


def test_it_holds_without_autologging_and_ends_with_an_exception(traces):
    mlflow.dspy.autolog(disable=True)
    with pytest.raises(ValueError, match="mine"), mlflow.dspy.context(session_id="s"):
        mine()
        raise ValueError("mine")
    mine()
    found = sorted(traces(), key=lambda trace: trace.info.request_time)
    assert [trace.info.trace_metadata.get(SESSION) for trace in found] == ["s", None]


def test_tasks_have_one_each(traces):
    async def one(name):
        with mlflow.dspy.context(session_id=name):
            await asyncio.sleep(0)
            await PREDICT.acall(question=name)

    async def main():
        await asyncio.gather(*map(one, "abc"))

    asyncio.run(main())
    said = [(trace.data.spans[0].inputs["question"], trace.info.trace_metadata[SESSION]) for trace in traces()]
    assert sorted(said) == [("a", "a"), ("b", "b"), ("c", "c")]


def test_it_is_mlflow_s_own_where_that_knows_sessions():
    own = getattr(mlflow.tracing, "context", None)
    if own is not None and "session_id" in inspect.signature(own).parameters:
        assert mlflow.dspy.context is own
    parameters = inspect.signature(mlflow.dspy.context).parameters
    assert list(parameters) == ["metadata", "tags", "enabled", "session_id", "user"]
    assert all(parameter.default is None for parameter in parameters.values())
    assert "Args:" in mlflow.dspy.context.__doc__

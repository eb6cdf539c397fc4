"""Threads keep the parent, whoever starts them, and two programs never mix."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest
from dspy.teleprompt.teleprompt import Teleprompter

from tests.tracing.trees import name_of, outline, predictor, under

PREDICT = dspy.Predict("question -> answer")


def asked(question):
    return predictor(f"Predict.forward LLM OK {{'question': '{question}'}} -> {{'answer': 'a'}}")


class ByParallel(dspy.Module):
    def forward(self, questions):
        pairs = [(PREDICT, dspy.Example(question=q).with_inputs("question")) for q in questions]
        results = dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
        return dspy.Prediction(answers=[result.answer for result in results])


class ByBatch(dspy.Module):
    def forward(self, questions):
        examples = [dspy.Example(question=q).with_inputs("question") for q in questions]
        results = PREDICT.batch(examples, num_threads=2, disable_progress_bar=True)
        return dspy.Prediction(answers=[result.answer for result in results])


class Nested(dspy.Module):
    """Parallel in Parallel."""

    def __init__(self):
        super().__init__()
        self.inner = ByParallel()

    def forward(self, questions):
        pairs = [(self.inner, {"questions": [q]}) for q in questions]
        results = dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)
        return dspy.Prediction(answers=[result.answers for result in results])


@pytest.mark.parametrize("program", [ByParallel(), ByBatch()], ids=lambda program: type(program).__name__)
def test_workers_of_dspy_are_below_the_module_that_started_them(program, trace):
    program(questions=["1", "2", "3"])
    line = "forward CHAIN OK {'questions': ['1', '2', '3']} -> {'answers': ['a', 'a', 'a']}"
    assert outline(trace()) == under(f"{type(program).__name__}.{line}", asked(1), asked(2), asked(3))


def test_workers_of_workers_are_below_their_own_module(trace):
    Nested()(questions=["1", "2"])
    inner = [
        under(f"ByParallel.forward CHAIN OK {{'questions': ['{q}']}} -> {{'answers': ['a']}}", asked(q)) for q in (1, 2)
    ]
    top = "Nested.forward CHAIN OK {'questions': ['1', '2']} -> {'answers': [['a'], ['a']]}"
    assert outline(trace()) == under(top, *inner)


DEVSET = [dspy.Example(question=str(i), answer="a").with_inputs("question") for i in range(5)]


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


def test_an_evaluation_is_one_trace_a_prediction(traces):
    dspy.Evaluate(devset=DEVSET, metric=right, num_threads=3)(PREDICT)
    assert sorted(map(outline, traces())) == [asked(i) for i in range(5)]


def test_an_evaluation_inside_a_module_is_below_it(trace):
    class Scored(dspy.Module):
        def forward(self):
            evaluation = dspy.Evaluate(devset=DEVSET, metric=right, num_threads=3)(PREDICT)
            return dspy.Prediction(score=float(evaluation))

    Scored()()
    assert outline(trace()) == under("Scored.forward CHAIN OK {} -> {'score': 100.0}", *map(asked, range(5)))


def test_calls_in_parallel_at_the_top_have_a_trace_each(traces):
    pairs = [(PREDICT, {"question": str(i)}) for i in range(5)]
    dspy.Parallel(num_threads=3, disable_progress_bar=True)(pairs)
    assert sorted(map(outline, traces())) == [asked(i) for i in range(5)]


def test_a_user_s_threads_have_a_trace_each(traces):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: PREDICT(question=str(i)), range(8)))
    assert sorted(map(outline, traces())) == [asked(i) for i in range(8)]


def ask(question):
    return PREDICT(question=str(question)).answer


def in_threads(questions):
    threads = [threading.Thread(target=ask, args=(question,)) for question in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_pool(questions):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, questions))


def in_pools_of_a_pool(questions):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda question: in_pool([question]), questions))


async def asked_by_asyncio(questions):
    await asyncio.gather(*[PREDICT.acall(question=str(question)) for question in questions])


def in_the_event_loop_of_a_thread(questions):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, asked_by_asyncio(questions)).result()


def in_default_executor(questions):
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.gather(*[loop.run_in_executor(None, ask, question) for question in questions])

    asyncio.run(main())


def by_to_thread(questions):
    async def main():
        await asyncio.gather(*[asyncio.to_thread(ask, question) for question in questions])

    asyncio.run(main())


def by_copied_contexts(questions):
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(contextvars.copy_context().run, ask, question) for question in questions]
    assert [future.result() for future in futures] == ["a"] * len(questions)


WAYS = [
    in_threads,
    in_pool,
    in_pools_of_a_pool,
    in_the_event_loop_of_a_thread,
    in_default_executor,
    by_to_thread,
    by_copied_contexts,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_threads_that_a_module_starts_are_below_it(way, trace):
    class Asking(dspy.Module):
        def forward(self):
            way([1, 2, 3])
            return dspy.Prediction(done=True)

    Asking()()
    assert outline(trace()) == under("Asking.forward CHAIN OK {} -> {'done': True}", asked(1), asked(2), asked(3))


def test_threads_that_a_tool_starts_are_below_it(trace):
    tool = dspy.Tool(in_pool, name="ask_all", desc="Ask everything.")

    class Agent(dspy.Module):
        def forward(self):
            tool(questions=["1", "2"])
            return dspy.Prediction(done=True)

    Agent()()
    assert outline(trace()) == under(
        "Agent.forward CHAIN OK {} -> {'done': True}",
        under("Tool.ask_all TOOL OK {'questions': ['1', '2']} -> None", asked(1), asked(2)),
    )


def test_threads_that_a_user_s_traced_function_starts_are_below_it(trace):
    @mlflow.trace
    def mine():
        in_pool([1, 2])

    mine()
    assert outline(trace()) == under("mine UNKNOWN OK {} -> None", asked(1), asked(2))


def test_a_user_s_span_in_a_thread_is_below_the_module_and_above_what_it_calls(trace):
    class Outer(dspy.Module):
        def forward(self):
            thread = threading.Thread(target=mlflow.trace(lambda: ask("1"), name="mine"))
            thread.start()
            thread.join()
            return dspy.Prediction(done=True)

    Outer()()
    assert outline(trace()) == under(
        "Outer.forward CHAIN OK {} -> {'done': True}", under("mine UNKNOWN OK {} -> a", asked(1))
    )


def test_two_programs_at_once_never_mix(traces):
    """Each of two threads is in the middle of its program while the other one is."""
    barrier = threading.Barrier(2)

    class Meeting(dspy.Module):
        def forward(self, name):
            for turn in range(2):
                barrier.wait(10)
                PREDICT(question=f"{name}{turn}")
            return dspy.Prediction(name=name)

    program = Meeting()
    threads = [threading.Thread(target=program, kwargs={"name": name}) for name in "xy"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [
        under(
            f"Meeting.forward CHAIN OK {{'name': '{name}'}} -> {{'name': '{name}'}}",
            asked(f"{name}0"),
            asked(f"{name}1"),
        )
        for name in "xy"
    ]
    assert sorted(map(outline, traces())) == expected


def test_a_failed_worker_is_an_error_below_its_module(trace):
    class Fussy(dspy.Module):
        def forward(self, question):
            if question == "2":
                raise ValueError("not that one")
            return dspy.Prediction(answer=question)

    class Both(dspy.Module):
        def forward(self):
            pairs = [(Fussy(), {"question": q}) for q in "12"]
            results = dspy.Parallel(num_threads=2, disable_progress_bar=True, max_errors=5)(pairs)
            return dspy.Prediction(answers=[result and result.answer for result in results])

    Both()()
    assert outline(trace()) == under(
        "Both.forward CHAIN OK {} -> {'answers': ['1', None]}",
        "Fussy.forward CHAIN ERROR {'question': '2'} -> None !ValueError",
        "Fussy.forward CHAIN OK {'question': '1'} -> {'answer': '1'}",
    )


def test_a_pool_that_two_programs_share_never_mixes_them(traces):
    """Whichever of them was the first to need its threads."""
    barrier = threading.Barrier(2)

    class Sharing(dspy.Module):
        def forward(self, name):
            barrier.wait(10)
            list(pool.map(lambda turn: ask(f"{name}{turn}"), range(3)))
            barrier.wait(10)
            return dspy.Prediction(name=name)

    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as programs:
        list(programs.map(lambda name: Sharing()(name=name), "xy"))
    assert sorted(map(outline, traces())) == [
        under(
            f"Sharing.forward CHAIN OK {{'name': '{name}'}} -> {{'name': '{name}'}}",
            *[asked(f"{name}{turn}") for turn in range(3)],
        )
        for name in "xy"
    ]


def test_a_worker_thread_is_left_as_it_was_found(traces):
    """A pool's thread that ran a part of a program starts traces of its own afterwards."""

    class Helped(dspy.Module):
        def forward(self):
            pool.submit(ask, 1).result()
            return dspy.Prediction(done=True)

    with ThreadPoolExecutor(1) as pool:
        Helped()()
        pool.submit(ask, 2).result()
    helped, alone = sorted(map(outline, traces()))
    assert helped == under("Helped.forward CHAIN OK {} -> {'done': True}", asked(1))
    assert alone == asked(2)


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt("mine"), SystemExit("mine")], ids=repr)
def test_an_exception_in_a_thread_closes_its_spans_and_goes_where_it_went(error, trace, log):
    class Failing(dspy.Module):
        def forward(self):
            raise error

    class Outer(dspy.Module):
        def forward(self):
            with ThreadPoolExecutor(1) as pool:
                return dspy.Prediction(same=pool.submit(Failing()).exception() is error)

    assert Outer()().same
    assert outline(trace()) == under(
        "Outer.forward CHAIN OK {} -> {'same': True}",
        f"Failing.forward CHAIN ERROR {{}} -> None !{type(error).__name__}",
    )
    assert [line for line in log if not line.startswith("dspy")] == []


class Leaving(dspy.Module):
    """Starts work in a thread, and returns before it is done."""

    def __init__(self, work):
        super().__init__()
        self._work = work

    def forward(self):
        self._returned = threading.Event()
        self._thread = threading.Thread(target=self._later)
        self._thread.start()
        return dspy.Prediction(done=True)

    def _later(self):
        self._returned.wait(10)
        self._work()

    def and_wait(self):
        self()
        self._returned.set()
        self._thread.join()


LEFT = "Leaving.forward CHAIN OK {} -> {'done': True}\n"


@pytest.mark.parametrize("stored", ["at once", "later"])
def test_work_that_its_program_leaves_to_a_thread_begins_a_trace(stored, traces, log, monkeypatch):
    """MLflow keeps a trace that is stored later, though it takes no more spans."""
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", str(stored == "later").lower())
    mlflow.tracing.reset()
    Leaving(lambda: ask("1")).and_wait()
    Leaving(mlflow.trace(lambda: ask("2"), name="mine")).and_wait()
    expected = [LEFT, LEFT, asked(1), under("mine UNKNOWN OK {} -> a", asked(2))]
    assert sorted(map(outline, traces())) == sorted(expected)
    assert log == []


def test_a_program_that_ends_after_the_one_that_started_it_is_not_lost(traces, log):
    """MLflow 3.4 stores a trace when its root ends: what follows is in traces of its own."""
    asking, returned = threading.Event(), threading.Event()

    class Slow(dspy.Module):
        def forward(self):
            asking.set()
            returned.wait(10)
            return PREDICT(question="late")

    class Hasty(dspy.Module):
        def forward(self):
            threads.append(threading.Thread(target=lambda: results.append(Slow()())))
            threads[0].start()
            asking.wait(10)
            return dspy.Prediction(done=True)

    threads, results = [], []
    Hasty()()
    returned.set()
    threads[0].join()
    assert results[0].answer == "a"
    names = [name_of(span) for trace in traces() for span in trace.data.spans]
    assert sorted(names) == sorted(
        ["Hasty.forward", "Slow.forward", "Predict.forward", "ChatAdapter.format", "LM.__call__", "ChatAdapter.parse"]
    )
    assert log == []


def test_switching_off_while_a_thread_runs_closes_what_is_open(traces, log):
    switched, asking = threading.Event(), threading.Event()

    class Waiting(dspy.Module):
        def forward(self):
            asking.set()
            switched.wait(10)
            return PREDICT(question="after")

    class Switching(dspy.Module):
        def forward(self):
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(Waiting())
                asking.wait(10)
                mlflow.dspy.autolog(disable=True)
                switched.set()
                return dspy.Prediction(answer=future.result().answer)

    assert Switching()().answer == "a"
    found = sorted((name_of(span), str(span.status.status_code.value)) for t in traces() for span in t.data.spans)
    assert found == [("Switching.forward", "OK"), ("Waiting.forward", "OK")]
    assert log == []


class Searching(Teleprompter):
    """An optimizer with threads of its own, one of which outlives it."""

    def compile(self, student, *, trainset):
        self.compiled = threading.Event()
        self.thread = threading.Thread(target=self.afterwards)
        self.thread.start()
        in_pool([1, 2])
        return student

    def afterwards(self):
        self.compiled.wait(10)
        ask("after")


def test_threads_of_a_compile_are_as_silent_as_it_is_and_no_longer(traces):
    optimizer = Searching()
    optimizer.compile(PREDICT, trainset=[])
    optimizer.compiled.set()
    optimizer.thread.join()
    assert list(map(outline, traces())) == [asked("after")]

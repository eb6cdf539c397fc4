"""Worker threads keep the parent, and two programs never mix."""

import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import pytest

from tests.tracing.trees import outline, predictor, under

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


def test_an_evaluation_is_one_trace_a_prediction(traces):
    devset = [dspy.Example(question=str(i), answer="a").with_inputs("question") for i in range(5)]
    metric = lambda example, prediction: example.answer == prediction.answer  # noqa: E731
    dspy.Evaluate(devset=devset, metric=metric, num_threads=3)(PREDICT)
    assert sorted(map(outline, traces())) == [asked(i) for i in range(5)]


def test_a_user_s_threads_have_a_trace_each(traces):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: PREDICT(question=str(i)), range(8)))
    assert sorted(map(outline, traces())) == [asked(i) for i in range(8)]


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


def test_a_worker_thread_is_left_as_it_was_found(trace):
    """A thread pool's thread that ran a part of a program starts traces of its own afterwards."""

    class Helped(dspy.Module):
        def __init__(self, pool):
            super().__init__()
            self._pool = pool

        def forward(self):
            import contextvars

            context = contextvars.copy_context()
            self._pool.submit(context.run, PREDICT, question="1").result()
            return dspy.Prediction(answer="done")

    with ThreadPoolExecutor(1) as pool:
        Helped(pool)()
        found = outline(trace())
        assert pool.submit(dspy.settings.get, "_mlflow_dspy_plugin").result() is None
    assert found == under("Helped.forward CHAIN OK {} -> {'answer': 'done'}", asked(1))

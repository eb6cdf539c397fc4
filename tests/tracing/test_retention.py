"""Of the traces of a compile, those that fail and those of the best evaluation are kept."""

import dspy
import mlflow
import pytest
from dspy.teleprompt.teleprompt import Teleprompter

from tests.fakes.scripted import scripted_lm

EXAMPLES = [dspy.Example(question=str(i), answer="a").with_inputs("question") for i in range(3)]


class Candidate(dspy.Module):
    """Answers, and says in its inputs which candidate it is."""

    def __init__(self, name, answer, fails_at=None):
        super().__init__()
        self.name, self.answer, self.fails_at = name, answer, fails_at

    def forward(self, question):
        if question == self.fails_at:
            raise LookupError(f"{self.name} fails")
        return dspy.Prediction(answer=self.answer, by=self.name)


class Optimizer(Teleprompter):
    """Evaluates what it is given, one after the other."""

    def __init__(self, candidates):
        super().__init__()
        self.candidates = candidates

    def compile(self, student, **kwargs):
        student(question="a proposal")
        for candidate in self.candidates:
            evaluate = dspy.Evaluate(
                devset=EXAMPLES,
                metric=lambda example, prediction, trace=None: example.answer == prediction.answer,
                num_threads=2,
                provide_traceback=False,
                display_progress=False,
            )
            evaluate(candidate)
        return student


def kept(traces):
    """Which candidate made each trace that was kept; the failed ones by their error."""
    found = [trace.data.spans[0] for trace in traces()]
    return sorted(
        span.outputs["by"] if span.outputs else span.events[0].attributes["exception.message"] for span in found
    )


CANDIDATES = [
    Candidate("poor", "b"),
    Candidate("best", "a"),
    Candidate("good but failing", "a", fails_at="1"),
]


def test_the_best_evaluation_and_every_failure_are_kept(traces):
    mlflow.dspy.autolog(log_traces_from_compile="failed-and-best")
    Optimizer(CANDIDATES).compile(Candidate("seed", "b"))
    assert kept(traces) == ["best"] * 3 + ["good but failing fails"]


def test_calls_after_the_compile_are_traced_as_always(traces):
    mlflow.dspy.autolog(log_traces_from_compile="failed-and-best")
    Optimizer([]).compile(Candidate("seed", "b"))
    Candidate("after", "a")(question="q")
    assert kept(traces) == ["after"]


@pytest.mark.parametrize(("asked", "count"), [(True, 10), (False, 0)])
def test_all_or_none_of_them_where_the_user_asks_for_that(asked, count, traces):
    mlflow.dspy.autolog(log_traces_from_compile=asked)
    Optimizer(CANDIDATES).compile(Candidate("seed", "b"))
    assert len(traces()) == count


def test_a_compile_that_fails_keeps_what_was_best_until_then(traces):
    class Failing(Optimizer):
        def compile(self, student, **kwargs):
            super().compile(student)
            raise RuntimeError("the optimizer's own")

    mlflow.dspy.autolog(log_traces_from_compile="failed-and-best")
    with pytest.raises(RuntimeError, match="the optimizer's own"):
        Failing(CANDIDATES[:2]).compile(Candidate("seed", "b"))
    assert kept(traces) == ["best"] * 3


def test_a_real_optimizer_keeps_what_its_best_candidate_did(traces):
    mlflow.dspy.autolog(log_traces_from_compile="failed-and-best")
    optimizer = dspy.BootstrapFewShotWithRandomSearch(
        metric=lambda example, prediction, trace=None: example.answer == prediction.answer,
        num_candidate_programs=1,
        max_bootstrapped_demos=1,
        max_labeled_demos=1,
        num_threads=1,
    )
    with dspy.context(lm=scripted_lm({"answer": "a"})):
        optimizer.compile(dspy.Predict("question -> answer"), trainset=EXAMPLES, valset=EXAMPLES)
    assert len(traces()) == len(EXAMPLES)

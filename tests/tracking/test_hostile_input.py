"""What programs, examples and optimizers may be: the compile behaves as without logging, and the record says why it is less."""

import asyncio
import time

import dspy
import mlflow
import pytest
from dspy.teleprompt.teleprompt import Teleprompter

from mlflow_dspy_plugin.tracking.plain_values import plain, text
from tests.tracking.test_compile import TRAINSET, Own, right, student


class Takes(Teleprompter):
    """Reads its training set once, and returns the student with it as demos."""

    def compile(self, student, *, trainset):
        compiled = student.reset_copy()
        compiled.demos = list(trainset)
        return compiled


def test_examples_that_can_be_read_only_once_are_left_to_the_optimizer(runs):
    mlflow.dspy.autolog(log_compiles=True, log_evals=True)
    assert Takes().compile(student(), trainset=iter(TRAINSET)).demos == TRAINSET
    [run] = runs()
    assert run.load("optimization.json")["left_out"] == ["trainset: it can be read only once, and the optimizer has to"]


class Awaits(Teleprompter):
    def __init__(self, tag):
        super().__init__()
        self.tag = tag

    async def compile(self, student, *, trainset):
        for _ in range(3):
            await asyncio.sleep(0.05)
            dspy.Evaluate(devset=trainset, metric=right)(student)
        return student


def test_async_compiles_of_one_event_loop_stay_apart(runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)

    async def both():
        await asyncio.gather(*(Awaits(tag).compile(student(), trainset=TRAINSET) for tag in ("a", "b")))

    asyncio.run(both())
    tops = [run for run in runs() if run.parent is None]
    assert sorted(run.params["tag"] for run in tops) == ["a", "b"]
    for top in tops:
        below = [run for run in runs() if run.parent == top.info.run_id]
        assert (len(below), len(top.load("optimization.json")["candidates"])) == (3, 3)


class Outer(Teleprompter):
    """Compiles inside, and evaluates nothing itself."""

    def compile(self, student, *, trainset):
        for _ in range(3):
            student = Own(rounds=2).compile(student, trainset=trainset)
        return student


@pytest.mark.parametrize(
    ("options", "below"),
    [({"max_candidate_runs": 2}, 2), ({"log_evals": False}, 3), ({}, 9)],
    ids=["few runs", "no evaluations", "all"],
)
def test_what_is_compiled_inside_is_no_candidate_of_the_outer_one(options, below, runs):
    mlflow.dspy.autolog(**{"log_traces": False, "log_compiles": True, "log_evals": True, **options})
    Outer().compile(student(), trainset=TRAINSET)
    top = next(run for run in runs() if run.parent is None)
    assert top.load("optimization.json")["candidates"] == []
    assert len(runs()) == 1 + below


def test_a_run_of_the_user_s_keeps_what_it_has_when_autolog_is_called_again(runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    evaluate = dspy.Evaluate(devset=TRAINSET, metric=right)
    with mlflow.start_run() as mine:
        evaluate(student())
        Own().compile(student(), trainset=TRAINSET)
        mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
        evaluate(student())
    run = next(run for run in runs() if run.info.run_id == mine.info.run_id)
    assert {"rows.json", "rows_1.json"} <= set(run.files)
    assert run.history("right") == [(0, 50.0), (1, 50.0)]


def test_a_run_that_is_resumed_keeps_what_it_has(runs, monkeypatch):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    evaluate = dspy.Evaluate(devset=TRAINSET, metric=right)
    with mlflow.start_run() as mine:
        evaluate(student())
        Own(rounds=1).compile(student(), trainset=TRAINSET)
    runs()
    # As in another process.
    monkeypatch.setattr("mlflow_dspy_plugin.tracking.evaluate._evaluations", type(mine.data.tags)())
    monkeypatch.setattr("mlflow_dspy_plugin.tracking.compile._used", {})
    with mlflow.start_run(run_id=mine.info.run_id):
        evaluate(student())
        Own(rounds=2).compile(student(), trainset=TRAINSET)
    run = next(run for run in runs() if run.info.run_id == mine.info.run_id)
    assert {"rows.json", "rows_1.json"} <= set(run.files)
    assert run.load("optimization.json")["parameters"]["rounds"] == 1
    assert [run.params["rounds"] for run in runs() if run.parent == mine.info.run_id and "rounds" in run.params] == [
        "2"
    ]


def test_an_evaluation_that_is_broken_off_has_the_rows_that_had_ended(runs):
    class Fails(dspy.Module):
        def forward(self, question):
            if question in "23":
                raise ValueError(f"no {question}")
            return dspy.Prediction(answer="a")

    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    with pytest.raises(Exception, match="."):
        dspy.Evaluate(devset=TRAINSET, metric=right, num_threads=1, max_errors=2)(Fails())
    [run] = runs()
    assert run.status == "FAILED"
    errors = {row["inputs"]["question"]: row["error"] for row in run.load("rows.json")}
    assert errors["0"] is None
    assert errors["2"] == "ValueError: no 2"
    assert run.metrics["failures"] >= 1


def test_a_candidate_whose_evaluation_raises_is_a_row_of_the_table(runs):
    class Breaks(Teleprompter):
        def compile(self, student, *, trainset):
            def metric(example, prediction, trace=None):
                return None

            try:
                dspy.Evaluate(devset=trainset, metric=metric)(student)
            except TypeError:
                return student

    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    Breaks().compile(student(), trainset=TRAINSET)
    top = next(run for run in runs() if run.parent is None)
    [candidate] = top.load("optimization.json")["candidates"]
    assert candidate["score"] is None
    assert candidate["why"].startswith("its evaluation raised TypeError")


def test_an_exception_that_cannot_be_written_ends_the_run_and_leaves_as_it_is(runs):
    class Unspeakable(Exception):
        def __str__(self):
            raise RuntimeError("not even this")

    raised = Unspeakable()
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    with pytest.raises(Unspeakable) as caught:
        Own(rounds=1, fails=raised).compile(student(), trainset=TRAINSET)
    assert caught.value is raised
    top = next(run for run in runs() if run.parent is None)
    assert (top.status, "report.html" in top.files) == ("FAILED", True)


def test_values_that_refer_to_each_other_are_read_once():
    nodes = [{"name": str(number)} for number in range(30)]
    for node in nodes:
        node["others"] = nodes
    begin = time.thread_time()
    assert plain(dspy.Example(nodes=nodes)) is not None
    # Each path through them would take for ever.
    assert time.thread_time() - begin < 20


def test_no_key_is_cut_in_half():
    key = "sk-" + "a1B2" * 12
    told = text("x" * 199_980 + " " + key + " and more")
    assert "a1B2a1B2" not in told
    assert "more]" in told


@pytest.mark.parametrize("name", ["rows", "failures", "llm_calls", "tokens", "../été/¿x", "lr/", "..", ""])
def test_a_metric_of_any_name_has_its_score(name, runs):
    def metric(example, prediction, trace=None):
        return 0.5

    metric.__name__ = name
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    dspy.Evaluate(devset=TRAINSET, metric=metric)(student())
    [run] = runs()
    assert run.metrics["eval"] == 50.0
    assert 50.0 in {value for key, value in run.metrics.items() if key != "eval"}


def test_a_score_that_is_no_number_is_told_to_be_left_out(runs):
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    dspy.Evaluate(devset=TRAINSET, metric=lambda example, prediction: float("nan"))(student())
    [run] = runs()
    assert "eval" not in run.metrics
    assert run.data.tags["dspy.left_out"].startswith("the score, which is no number")

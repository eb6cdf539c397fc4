"""Baseline and best are of the examples that count, and the baseline is the program before's."""

import dspy
import mlflow
import pytest
from dspy.teleprompt.teleprompt import Teleprompter

from tests.fakes.scripted import scripted_lm

EXAMPLES = [dspy.Example(question=f"q{i}", answer="a").with_inputs("question") for i in range(12)]
# An instruction -> the questions that a program with it answers.
KNOWN = {"None.": [], "First four.": range(4), "Most.": [*range(1, 10), 11], "Last four.": range(8, 12)}


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


def answer(messages):
    known = next(known for instructions, known in KNOWN.items() if instructions in messages[0]["content"])
    asked = messages[-1]["content"].partition("[[ ## question ## ]]")[2].split()[0]
    return {"answer": "a" if int(asked[1:]) in known else "b"}


def program(instructions="None."):
    return dspy.Predict(dspy.Signature("question -> answer", instructions))


class Plan(Teleprompter):
    """Evaluates programs as it is told to, each on some examples; returns the last."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = steps

    def compile(self, student, *, trainset, valset=None):
        for instructions, devset in self.steps:
            tried = program(instructions)
            dspy.Evaluate(devset=devset, metric=right, num_threads=1)(tried)
        return tried


@pytest.fixture
def compiled(runs):
    """Compiles by a plan; the run of it."""

    def compiled(*steps, **sets):
        mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
        with dspy.context(lm=scripted_lm(answer)):
            Plan(*steps).compile(program(), **{"trainset": EXAMPLES, **sets})
        [top] = [run for run in runs() if run.parent is None]
        return top

    return compiled


def kinds(run):
    return [(each["kind"], round(each["score"])) for each in run.load("optimization.json")["candidates"]]


def test_scores_on_few_examples_are_no_match_for_those_on_more_that_come_later(compiled):
    halving = [("None.", EXAMPLES[:4]), ("First four.", EXAMPLES[:4]), ("First four.", EXAMPLES), ("Most.", EXAMPLES)]
    run = compiled(*halving)
    assert kinds(run) == [("minibatch", 0), ("minibatch", 100), ("full", 33), ("full", 83)]
    record = run.load("optimization.json")
    assert (record["best"], record["best_score"], run.metrics["eval"]) == (3, 83.33, 83.33)
    assert [each["is_best_so_far"] for each in record["candidates"]] == [True, True, True, True]
    assert len(record["rows"]["best"]) == len(EXAMPLES)


def test_it_is_so_where_none_of_them_are_all_examples_of_a_set(compiled):
    steps = [("First four.", EXAMPLES[:4]), ("First four.", EXAMPLES[:10]), ("None.", EXAMPLES[:3])]
    run = compiled(*steps)
    assert kinds(run) == [("minibatch", 100), ("full", 40), ("minibatch", 0)]
    assert run.load("optimization.json")["best"] == 1


def test_a_validation_set_counts_however_small_it_is(compiled):
    valset = EXAMPLES[8:]
    steps = [("Most.", EXAMPLES[:8]), ("Most.", valset), ("Last four.", list(valset)), ("First four.", EXAMPLES[4:8])]
    run = compiled(*steps, trainset=EXAMPLES[:8], valset=valset)
    assert kinds(run) == [("train", 88), ("full", 75), ("full", 100), ("minibatch", 0)]
    assert run.load("optimization.json")["best"] == 2


def test_a_score_on_the_training_set_is_no_match_for_one_on_the_validation_set(compiled):
    run = compiled(("First four.", EXAMPLES[:4]), ("Most.", EXAMPLES[8:]), trainset=EXAMPLES[:4], valset=EXAMPLES[8:])
    assert kinds(run) == [("train", 100), ("full", 75)]
    assert run.load("optimization.json")["best"] == 1


def test_a_program_before_that_was_not_scored_has_no_baseline_and_nothing_is_gained_on_it(compiled):
    run = compiled(("First four.", EXAMPLES), ("Most.", EXAMPLES))
    record = run.load("optimization.json")
    assert (record["baseline"], record["best_score"], record["rows"]["before"]) == (None, 83.33, [])
    assert not {"baseline", "gain"} & run.metrics.keys()


def test_the_baseline_is_the_score_of_the_program_before_whenever_it_was_scored(compiled):
    run = compiled(("Most.", EXAMPLES), ("First four.", EXAMPLES), ("None.", EXAMPLES[:4]), ("None.", EXAMPLES))
    record = run.load("optimization.json")
    assert (record["baseline"], run.metrics["baseline"], run.metrics["gain"]) == (0.0, 0.0, 83.33)
    assert [row["score"] for row in record["rows"]["before"]] == [False] * len(EXAMPLES)
    assert sum(row["score"] for row in record["rows"]["best"]) == 10


def test_a_score_of_the_program_before_on_other_examples_than_the_best_s_is_no_baseline(compiled):
    run = compiled(("None.", EXAMPLES[:4]), ("Most.", EXAMPLES[8:]), trainset=EXAMPLES[:4], valset=EXAMPLES[8:])
    assert run.load("optimization.json")["baseline"] is None

"""What the record of a compile holds: candidates, what they cost, whose calls they were, rows and programs."""

import dspy
import mlflow
import pytest
from dspy.teleprompt.teleprompt import Teleprompter

from tests.fakes.script import Answer
from tests.fakes.scripted import Usage, scripted_lm

TRAINSET = [dspy.Example(question=str(i), answer="a" if i % 2 else "b").with_inputs("question") for i in range(4)]


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


class Improving(Teleprompter):
    """Proposes an instruction by its own LM, and evaluates with and without it."""

    def __init__(self, prompt_model, metric=right):
        super().__init__()
        self.prompt_model, self.metric = prompt_model, metric

    def compile(self, student, *, trainset):
        evaluate = dspy.Evaluate(devset=trainset, metric=self.metric, num_threads=2)
        evaluate(student)
        with dspy.context(lm=self.prompt_model):
            proposed = dspy.Predict("current -> better")(current=student.signature.instructions).better
        better = student.deepcopy()
        better.signature = better.signature.with_instructions(proposed)
        evaluate(better, callback_metadata={"metric_key": "eval_minibatch"}, devset=trainset[:2])
        evaluate(better)
        return better


@pytest.fixture
def record(runs):
    """Compiles, and reads the record of it."""

    def read(**kwargs):
        mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
        lm = scripted_lm(Answer({"answer": "a"}, usage=Usage(input_tokens=7, output_tokens=3)))
        with dspy.context(lm=lm):
            Improving(scripted_lm({"better": "Be brief."}), **kwargs).compile(
                dspy.Predict("question -> answer"), trainset=TRAINSET
            )
        return runs()[0].load("optimization.json")

    return read


def test_each_candidate_says_what_was_tried_on_how_many_rows_and_what_it_scored(record):
    found = record()
    told = [(c["number"], c["kind"], c["score"], c["rows"], c["failures"]) for c in found["candidates"]]
    assert told == [(0, "full", 50.0, 4, 0), (1, "minibatch", 50.0, 2, 0), (2, "full", 50.0, 4, 0)]
    programs = [found["programs"][c["program"]]["predictors"]["self"] for c in found["candidates"]]
    assert [each["instructions"] for each in programs][1:] == ["Be brief.", "Be brief."]
    assert programs[0]["signature"] == "question -> answer"
    assert found["before"] == found["candidates"][0]["program"]
    assert (found["optimizer"], found["program"], found["metric"]) == ("Improving", "Predict", "right")
    assert found["parameters"]["prompt_model"] == "scripted/model"


def test_the_program_that_was_returned_is_named(record):
    found = record()
    assert found["returned"] == found["candidates"][2]["program"]
    assert found["returned"] != found["before"]
    assert found["percent"] is True


def test_calls_of_the_program_are_told_from_those_that_propose_and_those_that_judge(record):
    judge = dspy.Predict("answer -> verdict")

    def judged(example, prediction, trace=None):
        return judge(answer=prediction.answer, lm=scripted_lm({"verdict": "good"})).verdict == "good"

    found = record(metric=judged)
    spent = {role: (each["calls"], each["input_tokens"], each["total_tokens"]) for role, each in found["usage"].items()}
    assert spent == {"task": (10, 70, 100), "metric": (10, 100, 150), "reflection": (1, 10, 15)}
    assert [c["usage"]["task"]["calls"] for c in found["candidates"]] == [4, 2, 4]
    assert all(each["seconds"] > 0 for each in found["usage"].values())


def test_the_rows_of_the_first_and_the_best_candidate_are_there(record):
    found = record()
    [first, *_] = found["rows"]["before"]
    assert (first["inputs"], first["expected"], first["prediction"]) == (
        {"question": "0"},
        {"answer": "b"},
        {"answer": "a"},
    )
    assert (first["score"], first["error"], first["tokens"]) == (False, None, 10)
    assert [row["id"] for row in found["rows"]["best"]] == [row["id"] for row in found["rows"]["before"]]


def test_a_metric_that_raises_is_counted_and_its_error_is_in_the_row(record):
    def raising(example, prediction, trace=None):
        if example.question == "1":
            raise LookupError("no such question")
        return 1.0

    found = record(metric=raising)
    assert [c["failures"] for c in found["candidates"]] == [1, 1, 1]
    assert [row["error"] for row in found["rows"]["before"]] == [None, "LookupError: no such question", None, None]


@pytest.mark.parametrize("score", [float("nan"), None, "numpy"], ids=str)
def test_scores_that_are_no_numbers_leave_the_compile_as_it_is(score, runs, monkeypatch):
    numpy = pytest.importorskip("numpy")

    def odd(example, prediction, trace=None):
        return numpy.float32(1.0) if score == "numpy" else score

    def compiled():
        optimizer = Improving(scripted_lm({"better": "Be brief."}), metric=odd)
        try:
            return optimizer.compile(dspy.Predict("question -> answer"), trainset=TRAINSET).dump_state()
        except TypeError as error:
            return str(error)

    plain = compiled()
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    assert str(compiled()) == str(plain)
    assert runs()[0].load("optimization.json")["optimizer"] == "Improving"


def test_long_prompts_and_odd_names_are_written_as_far_as_mlflow_takes_them(runs):
    class Odd(Teleprompter):
        def __init__(self):
            super().__init__()
            self.odd_prompt = "word " * 25_000
            vars(self)["a:b*c"] = 1

        def compile(self, student, *, trainset):
            return student

    mlflow.dspy.autolog(log_traces=False, log_compiles=True)
    signature = dspy.Signature("question -> answer", "x" * 100_000)
    Odd().compile(dspy.Predict(signature), trainset=TRAINSET)
    [run] = runs()
    assert run.params["a_b_c"] == "1"
    assert run.params["odd_prompt"].endswith("... [the rest is in the run's artifacts]")
    [program] = run.load("optimization.json")["programs"].values()
    assert len(program["predictors"]["self"]["instructions"]) == 100_000


def test_an_empty_trainset_is_said_to_be_left_out(runs):
    class Empty(Teleprompter):
        def compile(self, student, *, trainset):
            return student

    mlflow.dspy.autolog(log_traces=False, log_compiles=True)
    Empty().compile(dspy.Predict("question -> answer"), trainset=[])
    [run] = runs()
    assert run.load("optimization.json")["left_out"] == ["trainset: it is empty, or no list of examples"]
    assert "trainset" in run.data.tags["dspy.left_out"]

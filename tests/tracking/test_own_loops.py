"""A search that is written by hand gets the record of an optimizer."""

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import TrackingError

DEVSET = [dspy.Example(question=str(i), answer="a" if i % 2 else "b").with_inputs("question") for i in range(4)]


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


def program(instructions="Answer."):
    return dspy.Predict(dspy.Signature("question -> answer", instructions))


def test_what_is_logged_is_in_the_record_with_the_best_program(runs):
    with mlflow.dspy.track_optimization("hill climbing", program=program(), metric=right, trainset=DEVSET) as opt:
        first = opt.log_candidate(program(), 40, rows=4)
        second = opt.log_candidate(program("Be brief."), 60.0, rows=4, parents=[first], accepted=True, why="shorter")
        opt.log_candidate(program("Be long."), 50.0, kind="minibatch", parents=[second], accepted=False)
        opt.note("proposal", text="Be brief.")
    [run] = runs()
    assert (run.name, run.status) == ("hill climbing", "FINISHED")
    record = run.load("optimization.json")
    told = [(c["score"], c["kind"], c["parents"], c["status"], c["why"]) for c in record["candidates"]]
    assert told == [
        (40.0, "full", [], "scored", None),
        (60.0, "full", [0], "accepted", "shorter"),
        (50.0, "minibatch", [1], "rejected", None),
    ]
    assert (record["baseline"], record["best"], record["best_score"], record["metric"]) == (40.0, 1, 60.0, "right")
    assert {(c["seconds"], c["usage"]) for c in record["candidates"]} == {(None, None)}
    assert {(c["seconds"], c["llm_calls"], c["tokens"], c["cost"]) for c in run.rows("candidates.json")} == {
        (None,) * 4
    }
    assert record["datasets"]["trainset"]["rows"] == 4
    # What the numbers are is the user's affair.
    assert record["percent"] is False
    assert "%" not in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html").partition("<body>")[2]
    assert [note["text"] for note in record["notes"]] == ["Be brief."]
    assert run.load("best_model.json")["signature"]["instructions"] == "Be brief."
    assert run.history("score") == [(0, 40.0), (1, 60.0), (2, 50.0)]
    # The last point is the best program's, as a model.
    assert run.history("best_score") == [(0, 40.0), (1, 60.0), (2, 60.0), (3, 60.0)]
    assert (run.metrics["baseline"], run.metrics["gain"]) == (40.0, 20.0)
    assert "report.html" in run.files


def test_evaluations_in_the_block_are_candidates_to_which_more_can_be_said(runs):
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    evaluate = dspy.Evaluate(devset=DEVSET, metric=right, num_threads=2)
    with mlflow.dspy.track_optimization("by hand", metric=right) as opt:
        candidate = program()
        result = evaluate(candidate)
        assert opt.log_candidate(candidate, result, why="the only one") == 0
    top, child = runs()
    [told] = top.load("optimization.json")["candidates"]
    assert (told["score"], told["rows"], told["why"], told["run_id"]) == (50.0, 4, "the only one", child.info.run_id)
    assert child.parent == top.info.run_id
    assert told["usage"]["task"]["calls"] == 4


def test_programs_that_differ_only_in_what_they_say_of_a_field_are_two(runs):
    plain = program()
    with mlflow.dspy.track_optimization("words", program=plain) as opt:
        for changed in ({"prefix": "So:"}, {"desc": "one letter"}):
            tried = plain.deepcopy()
            tried.signature = tried.signature.with_updated_fields("answer", **changed)
            opt.log_candidate(tried, 50.0)
        opt.log_candidate(plain, 40.0)
    [run] = runs()
    record = run.load("optimization.json")
    said = [record["programs"][c["program"]]["predictors"]["self"]["fields_said"] for c in record["candidates"]]
    assert [each["answer"] for each in said] == [
        {"prefix": "So:", "desc": "${answer}"},
        {"prefix": "Answer:", "desc": "one letter"},
        {"prefix": "Answer:", "desc": "${answer}"},
    ]
    assert record["candidates"][2]["program"] == record["before"]
    assert len(record["programs"]) == 3


def test_its_run_is_active_inside_and_a_run_of_the_user_is_used(runs):
    with mlflow.dspy.track_optimization("alone") as opt:
        assert mlflow.active_run().info.run_id == opt.run_id
        mlflow.log_param("mine", 1)
    assert mlflow.active_run() is None
    with mlflow.start_run(run_name="mine") as mine, mlflow.dspy.track_optimization("inside") as opt:
        assert opt.run_id == mine.info.run_id
    alone, users = runs()
    assert (alone.params["mine"], users.name, users.params["optimizer"]) == ("1", "mine", "inside")


def test_an_error_leaves_unchanged_and_what_was_known_is_kept(runs):
    fault = ValueError("the loop's own")
    with pytest.raises(ValueError, match="own") as raised, mlflow.dspy.track_optimization("failing") as opt:
        opt.log_candidate(program("So far."), 10)
        raise fault
    assert raised.value is fault
    [run] = runs()
    assert (run.status, run.metrics["best_score"]) == ("FAILED", 10.0)
    assert run.load("optimization.json")["error"] == "ValueError: the loop's own"
    assert run.load("best_model.json")["signature"]["instructions"] == "So far."


WRONG = {
    "no program": (("text", 1), {}, "got str as program. Give the dspy.Module"),
    "a kind": ((program(), 1), {"kind": "half"}, "got kind='half'. Give one of 'full', 'minibatch', 'train'"),
    "rows": ((program(), 1), {"rows": "x"}, "got rows='x'"),
    "accepted": ((program(), 1), {"accepted": "yes"}, "got accepted='yes'"),
    "parents": ((program(), 1), {"parents": 5}, "got parents=5"),
    "a parent": ((program(), 1), {"parents": [7]}, r"got parents \[7\], of which there is no candidate yet"),
}


@pytest.mark.parametrize(("args", "kwargs", "message"), WRONG.values(), ids=WRONG)
def test_what_means_nothing_is_refused(args, kwargs, message):
    with mlflow.dspy.track_optimization("loop") as opt, pytest.raises(TrackingError, match=message):
        opt.log_candidate(*args, **kwargs)


@pytest.mark.parametrize("score", [None, float("nan"), "high"], ids=repr)
def test_a_score_that_is_none_is_no_best(score, runs):
    with mlflow.dspy.track_optimization("loop") as opt:
        opt.log_candidate(program(), score)
    [run] = runs()
    record = run.load("optimization.json")
    assert (record["best"], record["candidates"][0]["score"]) == (None, None)


def test_what_is_said_of_an_evaluation_without_a_run_is_said_of_the_same_candidate(runs):
    mlflow.dspy.autolog(log_traces=False, log_evals=True)
    evaluate = dspy.Evaluate(devset=DEVSET, metric=right)
    with mlflow.dspy.track_optimization("by hand", metric=right, max_candidate_runs=1) as opt:
        for number in range(3):
            candidate = program(f"Answer {number}.")
            assert opt.log_candidate(candidate, evaluate(candidate), why=str(number)) == number
    record = next(run for run in runs() if run.parent is None).load("optimization.json")
    assert [(each["why"], each["rows"]) for each in record["candidates"]] == [("0", 4), ("1", 4), ("2", 4)]


def test_the_same_program_may_be_scored_again(runs):
    with mlflow.dspy.track_optimization("by hand") as opt:
        assert [opt.log_candidate(program(), 40.0) for _ in range(2)] == [0, 1]


def test_a_candidate_after_the_end_is_refused(runs):
    with mlflow.dspy.track_optimization("by hand") as opt:
        opt.log_candidate(program(), 40.0)
    with pytest.raises(TrackingError, match="after the search had ended"):
        opt.log_candidate(program(), 99.0)
    assert runs()[0].metrics["best_score"] == 40.0


def test_a_parameter_of_any_name_is_kept(runs):
    with mlflow.dspy.track_optimization("by hand", parameters={"lr/": 1, "../k": 2, "p": 3}) as opt:
        opt.log_candidate(program(), 40.0)
    [run] = runs()
    assert {name: run.params[name] for name in ("lr", "k", "p", "optimizer")} == {
        "lr": "1",
        "k": "2",
        "p": "3",
        "optimizer": "by hand",
    }

"""One compile of an optimizer is one run, with its evaluations below it."""

import json
import threading

import dspy
import mlflow
import pytest
from dspy.teleprompt.bootstrap_trace import bootstrap_trace_data
from dspy.teleprompt.teleprompt import Teleprompter

from tests.fakes.openai_server import OpenAIServer
from tests.tracking.conftest import KEY

TRAINSET = [dspy.Example(question=str(i), answer="a" if i % 2 else "b").with_inputs("question") for i in range(4)]


def right(example, prediction, trace=None):
    return example.answer == prediction.answer


def student():
    return dspy.Predict("question -> answer")


class Own(Teleprompter):
    """Evaluates its student twice: against the training set, and against a half of it."""

    def __init__(self, rounds=2, api_key=KEY, fails=None):
        super().__init__()
        self.rounds, self.api_key, self.fails = rounds, api_key, fails

    def compile(self, student, *, trainset, valset=None, note="n"):
        for count in range(self.rounds):
            evaluate = dspy.Evaluate(devset=trainset[: len(trainset) - count], metric=right, num_threads=2)
            evaluate(student)
        if self.fails is not None:
            raise self.fails
        return student


def random_search():
    return dspy.BootstrapFewShotWithRandomSearch(
        metric=right, max_bootstrapped_demos=1, max_labeled_demos=1, num_candidate_programs=1, num_threads=1
    )


def simba():
    return dspy.SIMBA(metric=right, bsize=2, num_candidates=2, max_steps=1, max_demos=1, num_threads=1)


def defined_later():
    class Later(Own):
        def compile(self, student, *, trainset):
            return super().compile(student, trainset=trainset)

    return Later()


WRITTEN = [
    "best_model.json",
    "candidates.json",
    "optimization.json",
    "program_before.json",
    "report.html",
    "trainset.json",
]

# What it is, its name, one of its parameters, and whether it uses `dspy.Evaluate`.
OPTIMIZERS = {
    "random search": (random_search, "BootstrapFewShotWithRandomSearch", ("max_labeled_demos", "1"), True),
    "SIMBA": (simba, "SIMBA", ("num_candidates", "2"), False),
    "defined later": (defined_later, "Later", ("rounds", "2"), True),
}


@pytest.mark.parametrize(("make", "name", "param", "evaluates"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_compile_is_a_run_and_each_evaluation_one_below_it(make, name, param, evaluates, runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    compiled = make().compile(student(), trainset=TRAINSET)
    top, *others = runs()
    # Optimizers that it calls have runs of their own.
    children = [run for run in others if run.name.startswith("eval_")]

    assert top.status == "FINISHED"
    assert top.params["optimizer"] == name
    assert top.params[param[0]] == param[1]
    assert json.loads(top.params["lm_params"]) == {
        "cache": False,
        "max_tokens": 50,
        "model": "scripted/model",
        "model_type": "chat",
        "temperature": 1.0,
    }
    assert top.files == WRITTEN
    assert top.rows("trainset.json") == [dict(example) for example in TRAINSET]
    assert top.load("best_model.json")["signature"] == compiled.dump_state()["signature"]

    assert bool(children) == evaluates
    steps = range(len(children))
    scored = [(i, children[i].metrics["eval"]) for i in steps]
    # The last is the best, for the table of runs.
    record = top.load("optimization.json")
    assert top.history("eval") == [*scored, (len(record["candidates"]), record["best_score"])]
    assert record["best_score"] == max(each["score"] for each in record["candidates"] if each["kind"] != "minibatch")
    assert [child.name for child in children] == [f"eval_{i}" for i in steps]
    for child in children:
        assert (child.parent, child.status) == (top.info.run_id, "FINISHED")
        assert child.files == ["model.json", "result_table.json", "rows.json"]
        assert child.load("model.json")["signature"] == compiled.dump_state()["signature"]
        scores = [row["score"] for row in child.rows("result_table.json")]
        assert child.metrics["eval"] == pytest.approx(100 * sum(scores) / len(scores), abs=0.01)


def test_a_row_of_an_evaluation_has_example_prediction_and_score(runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    Own(rounds=1).compile(student(), trainset=TRAINSET[:2])
    [_, child] = runs()
    assert child.rows("result_table.json") == [
        {"score": False, "example_question": "0", "example_answer": "b", "pred_answer": "a"},
        {"score": True, "example_question": "1", "example_answer": "a", "pred_answer": "a"},
    ]


def test_validation_set_and_plain_arguments_are_kept(runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True)
    Own(rounds=0).compile(student(), trainset=TRAINSET, valset=TRAINSET[:1], note="mine")
    [run] = runs()
    assert run.files == sorted([*WRITTEN, "valset.json"])
    assert run.params["note"] == "mine"
    assert "api_key" not in run.params


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("broken"), "FAILED"), (KeyboardInterrupt("broken"), "KILLED")]
)
def test_a_failure_leaves_unchanged_and_is_the_status_of_the_run(error, status, runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    with pytest.raises(type(error), match="broken") as raised:
        Own(fails=error).compile(student(), trainset=TRAINSET)
    assert raised.value is error
    found = runs()
    assert [run.status for run in found] == [status, "FINISHED", "FINISHED"]
    # The best that was found so far is there.
    assert found[0].files == WRITTEN
    assert found[0].load("optimization.json")["error"] == f"{type(error).__name__}: {error}"


def test_a_program_that_is_evaluated_with_its_trace_is_recorded_as_without(runs):
    class Tracing(Teleprompter):
        def compile(self, student, *, trainset):
            bootstrap_trace_data(student, trainset, metric=right, num_threads=1)
            raise ValueError("broken")

    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    with pytest.raises(ValueError, match="broken"):
        Tracing().compile(student(), trainset=TRAINSET)
    top, child = runs()
    assert [row["prediction"] for row in child.load("rows.json")] == [{"answer": "a"}] * len(TRAINSET)
    assert [row["pred_answer"] for row in child.rows("result_table.json")] == ["a"] * len(TRAINSET)
    assert (top.params["metric"], child.metrics["right"]) == ("right", child.metrics["eval"])
    [logged] = mlflow.MlflowClient().get_run(top.info.run_id).outputs.model_outputs
    best = mlflow.dspy.load_model(f"models:/{logged.model_id}")
    assert best(question="1").answer == "a"


def test_a_run_of_the_user_is_used_and_stays_open(runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    with mlflow.start_run(run_name="mine") as mine:
        Own().compile(student(), trainset=TRAINSET)
        assert mlflow.active_run().info.run_id == mine.info.run_id
        mlflow.log_param("still", "open")
        # A second one would overwrite what the run holds of the first.
        Own(rounds=1).compile(student(), trainset=TRAINSET)
    top, *others = runs()
    assert (top.name, top.params["still"], top.params["rounds"]) == ("mine", "open", "2")
    [second] = [run for run in others if run.name == "Own"]
    assert (second.parent, second.params["rounds"]) == (top.info.run_id, "1")
    below = sorted((run.name, run.parent) for run in others if run is not second)
    ids = (top.info.run_id, second.info.run_id)
    assert below == sorted([("eval_0", ids[0]), ("eval_1", ids[0]), ("eval_0", ids[1])])


def test_a_compile_within_a_compile_is_part_of_it(runs):
    class Outer(Teleprompter):
        def compile(self, student, *, trainset):
            return Own().compile(student, trainset=trainset)

    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    Outer().compile(student(), trainset=TRAINSET)
    top, *children = runs()
    assert top.params["optimizer"] == "Outer"
    # Those that begin within a millisecond come in any order.
    [inner] = [child for child in children if child.name == "Own"]
    evaluations = [child for child in children if child is not inner]
    assert inner.parent == top.info.run_id
    assert [each.parent for each in evaluations] == [inner.info.run_id] * 2


def test_two_compiles_at_once_keep_their_evaluations_apart(runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    threads = [
        threading.Thread(target=Own(rounds=rounds).compile, args=[student()], kwargs={"trainset": TRAINSET})
        for rounds in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = runs()
    for top in (run for run in found if run.parent is None):
        below = sorted(run.name for run in found if run.parent == top.info.run_id)
        assert below == [f"eval_{i}" for i in range(int(top.params["rounds"]))]


def test_what_cannot_be_written_costs_no_compile(runs, monkeypatch):
    monkeypatch.setenv("MLFLOW_AUTOLOGGING_TESTING", "false")

    class Unreadable(dspy.Predict):
        def dump_state(self, *args, **kwargs):
            raise ValueError("no state")

    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    program = Unreadable("question -> answer")
    assert Own(rounds=1).compile(program, trainset=TRAINSET) is program
    assert [run.status for run in runs()] == ["FINISHED", "FINISHED"]


def test_the_result_is_the_same_as_without(lm):
    def compiled():
        return random_search().compile(student(), trainset=TRAINSET).dump_state()

    mlflow.dspy.autolog(disable=True)
    plain = compiled()
    mlflow.dspy.autolog(log_traces=False, log_compiles=True, log_evals=True)
    assert json.dumps(compiled(), default=str) == json.dumps(plain, default=str)


@pytest.mark.parametrize("options", [{}, {"log_compiles": True, "disable": True}], ids=str)
def test_it_is_off_unless_asked_for(options, runs):
    mlflow.dspy.autolog(**options)
    Own().compile(student(), trainset=TRAINSET)
    assert runs() == []


def test_compiles_alone_have_no_runs_for_their_evaluations(runs):
    mlflow.dspy.autolog(log_traces=False, log_compiles=True)
    Own().compile(student(), trainset=TRAINSET)
    assert len(runs()) == 1


def test_switching_off_in_the_middle_ends_the_run(runs):
    class Switching(Teleprompter):
        def compile(self, student, *, trainset):
            mlflow.dspy.autolog(disable=True)
            return student

    mlflow.dspy.autolog(log_traces=False, log_compiles=True)
    Switching().compile(student(), trainset=TRAINSET)
    [run] = runs()
    assert (run.status, run.files) == ("FINISHED", WRITTEN)


@pytest.mark.parametrize("make", [random_search, simba, Own])
def test_no_key_reaches_a_run(make, runs):
    """Neither that of the configured LM, nor that of the program's own, nor the optimizer's."""
    answer = "[[ ## answer ## ]]\na\n\n[[ ## completed ## ]]"
    with OpenAIServer({"m": lambda messages, body: answer}) as server:
        lm = dspy.LM(
            "openai/m",
            api_base=server.base_url,
            api_key=KEY,
            extra_headers={"Authorization": KEY},
            cache=False,
        )
        program = student()
        program.lm = lm
        mlflow.dspy.autolog(log_compiles=True, log_evals=True, log_traces_from_compile=True)
        with dspy.context(lm=lm):
            make().compile(program, trainset=TRAINSET)
        assert any(KEY in value for value in server.requests[-1].headers.values())
    assert runs()[0].params["lm_params"]


@pytest.mark.parametrize(
    ("variable", "value", "experiment"),
    [("MLFLOW_EXPERIMENT_NAME", "tests", "1"), ("MLFLOW_EXPERIMENT_ID", "1", "1"), ("", "", "0")],
)
def test_the_experiment_is_the_one_that_the_environment_names(variable, value, experiment, runs, monkeypatch):
    monkeypatch.setattr(mlflow.tracking.fluent, "_active_experiment_id", None)
    # `mlflow.set_experiment`, in any test before, sets one for the processes that follow.
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable or "UNRELATED", value)
    mlflow.dspy.autolog(log_traces=False, log_compiles=True)
    Own(rounds=0).compile(student(), trainset=TRAINSET)
    [run] = mlflow.search_runs([experiment], output_format="list")
    assert run.data.tags["dspy.optimizer"] == "Own"

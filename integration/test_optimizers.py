"""Every optimizer on Reuters R8, with a language model over HTTP: what the server has of it afterwards."""

import asyncio
import importlib
import inspect
import json
import pkgutil
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import gepa as gepa_package
import mlflow
import pytest
from dspy.teleprompt.teleprompt import Teleprompter

from integration.conftest import CANARY_KEY
from integration.optimizers import (
    CASES,
    FINETUNED,
    INSTRUCTIONS,
    JUDGE,
    REFLECTION,
    TASK,
    TOGETHER_TAKES_ALL,
    BestInstruction,
    Case,
    Setting,
    judge,
    own,
    random_search,
    seeded,
)
from integration.stored_runs import StoredRun, stored_runs
from mlflow_dspy_plugin.quickstart.data import read_rows
from mlflow_dspy_plugin.recording.runs import flush
from tests.fakes.openai_server import OpenAIServer, Reply, Usage, in_context_classifier

LONGEST_TEXT = 400
# What each completion is billed for.
TOKENS = Usage(input_tokens=10, output_tokens=5)
GEPA_HAS_CALLBACKS = "callbacks" in inspect.signature(gepa_package.optimize).parameters
# Runs with other names are those of evaluations.
EVALUATION = ("eval_", "eval_full_", "eval_minibatch_")
# The optimizers that score nothing, or leave that to others.
SCORELESS = {"BootstrapFewShot", "LabeledFewShot", "KNNFewShot", "Ensemble"}
SCORELESS |= set() if TOGETHER_TAKES_ALL else {"BetterTogether"}
# Those that score by other means than `dspy.Evaluate`.
EVALUATE_LESS = {"SIMBA", "ReAnchor"}
# Those that never score the program as it was.
STUDENTLESS = {"InferRules", "BootstrapFewShotWithOptuna"}


# -- what they run on -------------------------------------------------------------------------


class Listener(dspy.utils.callback.BaseCallback):
    """A callback of the user's: hears the score and the number of rows of each evaluation."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, int]] = []

    def on_evaluate_end(self, call_id: str, outputs: Any, exception: Exception | None = None) -> None:
        self.heard.append((outputs.score, len(outputs.results)))


class Models(OpenAIServer):
    """Serves the language models of a compile, which begin anew with each."""

    def begin(self) -> None:
        """Forget what was asked and answered."""
        self.requests.clear()
        for name, seed in ((TASK, 0), (REFLECTION, 1), (FINETUNED, 0)):
            self.models[name] = self._billed(in_context_classifier(seed))
        self.models[JUDGE] = self._billed(judge)

    def asked(self, model: str) -> list[str]:
        """The prompts that a model was asked, one for each completion."""
        bodies = [request.body for request in self.requests if request.body["model"] == model]
        return [json.dumps(body["messages"]) for body in bodies for _ in range(body.get("n") or 1)]

    @property
    def billed(self) -> int:
        """The tokens of all answers; several completions of one request share what goes in."""
        completions = [request.body.get("n") or 1 for request in self.requests]
        return TOKENS.input_tokens * len(completions) + TOKENS.output_tokens * sum(completions)

    @staticmethod
    def _billed(model: Any) -> Any:
        return lambda messages, body: Reply(model(messages, body), TOKENS)


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models(keep=10_000) as server:
        server.begin()
        yield server


@pytest.fixture(scope="module")
def setting(models, reuters, tracking_server, tmp_path_factory) -> Iterator[Setting]:
    """Two short texts of each label to learn from, and one to be measured on; nothing is recorded yet."""
    by_label: dict[str, list[dspy.Example]] = {}
    for row in read_rows(reuters / "train.tsv"):
        if len(row.text) <= LONGEST_TEXT:
            by_label.setdefault(row.label, []).append(row)
    trainset = [row for label in sorted(by_label) for row in by_label[label][:2]]
    valset = [row for label in sorted(by_label) for row in by_label[label][2:3]]
    setting = Setting(models.base_url, CANARY_KEY, trainset, valset, by_label["earn"][3:9])
    with pytest.MonkeyPatch.context() as patch, dspy.context(lm=setting.lm(), experimental=True):
        patch.setenv("OPENAI_API_KEY", CANARY_KEY)
        patch.setenv("MLFLOW_DSPY_SPOOL_DIR", str(tmp_path_factory.mktemp("spool")))
        # Faults of the instrumentation are errors.
        patch.setenv("MLFLOW_AUTOLOGGING_TESTING", "true")
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
        yield setting
        mlflow.dspy.autolog(disable=True)
        dspy.configure_cache()


@dataclass(frozen=True)
class Compiled:
    """A compile, done twice: as without this package, and recorded.

    Attributes:
        plain: The state of the program without recording.
        prompts: What the language models were asked for it.
        program: The program of the recorded compile.
        asked: What the language models were asked then, by model.
        billed: The tokens that they have billed.
        heard: The evaluations that DSPy told a callback of the user's.
        runs: All runs of the experiment, which is its own.
    """

    case: Case
    plain: Any
    prompts: Counter[str]
    program: Any
    asked: dict[str, list[str]]
    billed: int
    heard: list[tuple[float, int]]
    runs: list[StoredRun]

    @property
    def top(self) -> StoredRun:
        """The run of the compile."""
        return next(run for run in self.runs if run.parent is None)

    @property
    def compiles(self) -> list[StoredRun]:
        """The runs of the compile and of those inside it."""
        return [run for run in self.runs if not run.name.startswith(EVALUATION)]

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The candidates of the compile and of those inside it, in order of time."""
        told = [
            (run.record["started"] + each["at"], each) for run in self.compiles for each in run.record["candidates"]
        ]
        return [each for _, each in sorted(told, key=lambda pair: pair[0])]

    @property
    def best(self) -> dict[str, Any]:
        """The best candidate of the compile."""
        record = self.top.record
        return record["candidates"][record["best"]]


def compiled_by(case: Case, setting: Setting) -> Any:
    with seeded():
        compiled = case.make(setting).compile(**case.given(setting))
        return asyncio.run(compiled) if inspect.isawaitable(compiled) else compiled


def state(program: Any) -> Any:
    return json.loads(json.dumps(program.dump_state(), default=str))


@pytest.fixture(scope="module", params=CASES)
def compiled(request, setting, models, tracking_server) -> Compiled:
    """Each optimizer's compile, and its runs."""
    case, name, listener = CASES[request.param], f"optimizers: {request.param}", Listener()
    mlflow.dspy.autolog(disable=True)
    models.begin()
    plain = state(compiled_by(case, setting))
    prompts = Counter(models.asked(TASK) + models.asked(REFLECTION))
    models.begin()
    mlflow.set_experiment(name)
    mlflow.dspy.autolog(log_compiles=True, log_evals=True)
    with dspy.context(callbacks=[listener]):
        program = compiled_by(case, setting)
    asked = {model: models.asked(model) for model in (TASK, REFLECTION, FINETUNED, JUDGE)}
    billed = models.billed
    assert flush(30)
    runs = stored_runs(tracking_server.client, name)
    return Compiled(case, plain, prompts, program, asked, billed, listener.heard, runs)


# -- every optimizer --------------------------------------------------------------------------


def test_the_program_is_that_of_a_compile_without_recording(compiled):
    assert state(compiled.program) == compiled.plain
    assert Counter(compiled.asked[TASK] + compiled.asked[REFLECTION]) == compiled.prompts


def test_a_compile_is_one_run_with_all_others_below_it(compiled):
    tops = [run for run in compiled.runs if run.parent is None]
    assert [(run.name, run.tags["dspy.optimizer"]) for run in tops] == [(compiled.case.name,) * 2]
    assert {run.status for run in compiled.runs} == {"FINISHED"}
    assert all(run.info.end_time >= run.info.start_time for run in compiled.runs)
    names = {run.id: run.name for run in compiled.compiles}
    inner = Counter((names[run.parent], run.name) for run in compiled.compiles if run.parent)
    assert inner == compiled.case.below
    # An evaluation's run is below that of the optimizer that has evaluated.
    assert {run.parent for run in compiled.runs if run.name.startswith(EVALUATION)} <= names.keys()


def test_its_parameters_are_those_of_the_constructor_and_of_compile(compiled):
    params = compiled.top.params
    assert {name: params.get(name) for name in compiled.case.params} == compiled.case.params
    assert (params["optimizer"], params.get("metric")) == (compiled.case.name, compiled.case.metric)
    assert json.loads(params["lm_params"])["model"] == f"openai/{TASK}"
    record = compiled.top.record
    assert (record["optimizer"], record["metric"]) == (compiled.case.name, compiled.case.metric)
    assert record["parameters"].keys() <= params.keys()


def test_its_examples_are_inputs_and_tables(compiled, setting):
    given = compiled.case.given(setting)
    sets = {name: given[name] for name in ("trainset", "valset") if name in given}
    if compiled.case.name == "KNNFewShot":
        sets = {"trainset": setting.trainset}
    top = compiled.top
    assert {name: purpose for name, (_, purpose) in top.inputs.items()} == {name: name for name in sets}
    for name, examples in sets.items():
        assert top.rows(f"{name}.json") == [dict(each) for each in examples]
        assert top.record["datasets"][name] == {"rows": len(examples), "digest": top.inputs[name][0]}


def test_the_program_before_and_the_best_are_kept(compiled, setting):
    given, top = compiled.case.given(setting), compiled.top
    if "student" in given:
        before = top.json("program_before.json")["classify"]
        assert before["signature"] == state(given["student"])["classify"]["signature"]
        assert before["demos"] == []
        told = top.record["programs"][top.record["before"]]["predictors"]["classify"]
        assert told["instructions"] == given["student"].classify.signature.instructions
    for name, best in state(compiled.program).items():
        kept = top.json("best_model.json")[name]
        assert (kept["signature"], kept["demos"]) == (best["signature"], best["demos"])


def test_each_evaluation_is_a_candidate_with_its_score(compiled):
    scored = [(each["score"], each["rows"]) for each in compiled.candidates]
    if compiled.case.name in EVALUATE_LESS:
        assert (compiled.heard, scored != []) == ([], True)
        return
    assert len(scored) == len(compiled.heard)
    for (score, rows), (heard, heard_rows) in zip(scored, compiled.heard, strict=True):
        assert (score, rows) == (pytest.approx(heard, abs=0.01), heard_rows)
    assert (compiled.top.record["candidates"] == []) == (compiled.case.name in SCORELESS)


def test_a_candidate_has_what_was_tried(compiled):
    for run in compiled.compiles:
        record = run.record
        assert [each["number"] for each in record["candidates"]] == list(range(len(record["candidates"])))
        for each in record["candidates"]:
            tried, before = (
                record["programs"][which]["predictors"]["classify"] for which in (each["program"], record["before"])
            )
            assert tried["signature"] == before["signature"]
            assert tried["instructions"].startswith(before["instructions"]) or compiled.case.reflects
            assert all(demo["text"] and demo["label"] for demo in tried["demos"])
            assert each["kind"] in ("full", "minibatch", "train")
            assert each["status"] in ("scored", "accepted", "rejected")
            assert all(parent < each["number"] for parent in each["parents"])
            assert each["failures"] == 0


def test_an_evaluation_has_a_run_with_its_rows(compiled, setting):
    runs, met = {run.id: run for run in compiled.runs}, set()
    for outer in compiled.compiles:
        for each in outer.record["candidates"]:
            if each["run_id"] is None:
                continue
            run = runs[each["run_id"]]
            met.add(run.id)
            assert run.parent == outer.id
            assert (run.metrics["eval"], run.metrics["rows"]) == (pytest.approx(each["score"]), each["rows"])
            assert run.metrics[outer.record["metric"]] == run.metrics["eval"]
            rows, table = run.json("rows.json"), run.rows("result_table.json")
            assert len(rows) == len(table) == each["rows"]
            assert 100 * sum(row["score"] for row in rows) / len(rows) == pytest.approx(each["score"], abs=0.01)
            assert sum(row["tokens"] for row in rows) == run.metrics["tokens"]
            assert [row["prediction"]["label"] for row in rows] == [row["pred_label"] for row in table]
            tried = outer.record["programs"][each["program"]]["predictors"]["classify"]
            model = run.json("model.json")["classify"]
            assert (model["signature"]["instructions"], model["demos"]) == (tried["instructions"], tried["demos"])
            assert [purpose for _, purpose in run.inputs.values()] == ["evaluation"]
    assert met == runs.keys() - {run.id for run in compiled.compiles}


def test_what_was_spent_is_what_the_language_models_have_served(compiled):
    usage = compiled.top.record["usage"]
    assert sum(spent["total_tokens"] for spent in usage.values()) == compiled.billed
    served = {model: len(prompts) for model, prompts in compiled.asked.items()}
    if compiled.case.name == "COPRO":
        # It asks for several completions in one call, which newer releases of DSPy make of as many requests.
        served[REFLECTION] = len(set(compiled.asked[REFLECTION]))
    if compiled.case.reflects_by:
        # By the language model of the program.
        served[REFLECTION] = sum(compiled.case.reflects_by in prompt for prompt in compiled.asked[TASK])
        served[TASK] -= served[REFLECTION]
    expected = {"task": served[TASK] + served[FINETUNED] + served[JUDGE], "reflection": served[REFLECTION]}
    assert {role: spent["calls"] for role, spent in usage.items()} == {
        role: count for role, count in expected.items() if count
    }
    assert (expected["reflection"] > 0) == compiled.case.reflects


def test_the_learning_curve_is_in_the_metrics_by_step(compiled):
    for run in compiled.compiles:
        record, scores = run.record, [(each["number"], each["score"]) for each in run.record["candidates"]]
        assert run.history("score") == [(step, pytest.approx(score)) for step, score in scores]
        # The last point is the best program's, as a model.
        steps = range(len(scores) + (run is compiled.top and scores != []))
        assert [step for step, _ in run.history("best_score")] == list(steps)
        for name, spent in (("llm_calls", "calls"), ("tokens", "total_tokens")):
            values = [value for _, value in run.history(name)]
            assert values == sorted(values)
            assert (values[-1] if values else 0) == sum(each[spent] for each in record["usage"].values())
        if scores:
            assert len(run.history("llm_calls")) == len(scores) + 1


def test_baseline_best_and_gain_follow_from_the_candidates(compiled):
    for run in compiled.compiles:
        record = run.record
        told = {name: run.metrics.get(name) for name in ("baseline", "best_score", "gain", "eval")}
        whole = [each for each in record["candidates"] if each["kind"] != "minibatch"]
        if not whole:
            assert (record["baseline"], record["best"], record["best_score"]) == (None, None, None)
            assert set(told.values()) == {None}
            continue
        before = [each["score"] for each in whole if each["program"] == record["before"]]
        best = max(each["score"] for each in whole)
        assert record["baseline"] == told["baseline"] == (before[0] if before else None)
        assert record["best_score"] == told["best_score"] == told["eval"] == best
        assert told["gain"] == (pytest.approx(best - before[0]) if before else None)
        assert bool(before) == (record["optimizer"] not in STUDENTLESS)
        assert record["candidates"][record["best"]]["score"] == best
        assert record["candidates"][record["best"]]["is_best_so_far"]


def test_the_best_candidate_is_the_program_that_was_returned(compiled):
    if compiled.top.record["best"] is None:
        assert compiled.case.name in SCORELESS
        return
    predictor = compiled.program.classify
    best = compiled.top.record["programs"][compiled.best["program"]]["predictors"]["classify"]
    assert best["instructions"] == predictor.signature.instructions
    assert len(best["demos"]) == len(predictor.demos)
    assert compiled.best["program"] == compiled.top.record["returned"]


def test_the_examples_of_the_program_before_and_the_best_are_kept(compiled):
    rows, best = compiled.top.record["rows"], compiled.top.record["best"]
    tells_rows = best is not None and compiled.case.name != "ReAnchor"
    assert bool(rows["best"]) == tells_rows
    assert bool(rows["before"]) == (tells_rows and compiled.case.name not in STUDENTLESS)
    if tells_rows:
        assert 100 * sum(row["score"] for row in rows["best"]) / len(rows["best"]) == pytest.approx(
            compiled.top.record["candidates"][best]["score"], abs=0.01
        )
        assert {row["id"] for row in rows["before"]} in (set(), {row["id"] for row in rows["best"]})


def test_the_table_of_candidates_is_that_of_the_record(compiled):
    for run in compiled.compiles:
        table, candidates = run.rows("candidates.json"), run.record["candidates"]
        for line, each in zip(table, candidates, strict=True):
            usage = each["usage"]
            assert line["llm_calls"] == (usage and sum(spent["calls"] for spent in usage.values()))
            assert line["tokens"] == (usage and sum(spent["total_tokens"] for spent in usage.values()))
            assert {name: line[name] for name in ("number", "score", "kind", "parents", "run_id")} == {
                name: each[name] for name in ("number", "score", "kind", "parents", "run_id")
            }


def test_the_report_tells_of_it(compiled):
    page, record = compiled.top.text("report.html"), compiled.top.record
    assert page.lower().startswith("<!doctype html>")
    assert compiled.case.name in page
    if record["best"] is not None:
        assert f"{record['best_score']:.1f}%" in page
    assert "No program that was tried" not in page
    tells_change = "to the program that was returned" in page
    assert tells_change == (record["best"] is None and record["returned"] != record["before"])


def test_the_best_program_is_a_model_that_answers_as_it_does(compiled, setting):
    (model_id,) = compiled.top.models
    assert [run.models for run in compiled.runs if run is not compiled.top] == [[]] * (len(compiled.runs) - 1)
    metrics, record = mlflow.get_logged_model(model_id).metrics or [], compiled.top.record
    best = [] if record["best"] is None else [("best_score", record["best_score"], compiled.top.id)]
    assert [(metric.key, metric.value, metric.run_id) for metric in metrics] == best
    for metric in metrics:
        name = metric.dataset_name
        assert name == (
            "trainset"
            if compiled.best["kind"] == "train"
            else "valset"
            if "valset" in record["datasets"]
            else "trainset"
        )
        assert metric.dataset_digest == record["datasets"][name]["digest"]
    loaded = mlflow.dspy.load_model(f"models:/{model_id}")
    assert type(loaded).__name__ == type(compiled.program).__name__
    for example in setting.valset[:4]:
        assert loaded(text=example.text).label == compiled.program(text=example.text).label


def test_nothing_was_left_out_and_no_key_was_stored(compiled, tracking_server):
    assert [run.record["left_out"] for run in compiled.compiles] == [[]] * len(compiled.compiles)
    assert compiled.top.record["error"] is None
    assert tracking_server.files_holding(CANARY_KEY) == []


# -- what one optimizer alone can tell --------------------------------------------------------


def notes(compiled: Compiled, kind: str) -> list[dict[str, Any]]:
    return [note for note in compiled.top.record["notes"] if note["kind"] == kind]


def scores_of(candidates: Sequence[Any], kind: str) -> list[float]:
    return [each["score"] for each in candidates if each["kind"] == kind]


def only(label: str) -> Any:
    """The compile of one optimizer."""
    return pytest.mark.parametrize("compiled", [label], indirect=True)


@only("GEPA")
def test_gepa_tells_lineage_front_and_budget(compiled):
    result, record = compiled.program.detailed_results, compiled.top.record
    whole = [each for each in record["candidates"] if each["kind"] == "full"]
    assert [each["score"] / 100 for each in whole] == pytest.approx(result.val_aggregate_scores)
    assert len(whole) > 1
    for number, each in enumerate(whole):
        parents = [parent for parent in result.parents[number] if parent is not None]
        assert each["parents"] == [whole[parent]["number"] for parent in parents]
        assert each["status"] == ("accepted" if parents else "scored")
        instructions = record["programs"][each["program"]]["predictors"]["classify"]["instructions"]
        assert instructions == result.candidates[number].classify.signature.instructions
    fronts = result.per_val_instance_best_candidates
    front = set().union(*(fronts.values() if isinstance(fronts, dict) else fronts))
    assert sorted(notes(compiled, "pareto")[-1]["front"]) == [whole[number]["number"] for number in sorted(front)]
    assert notes(compiled, "budget")[-1]["used"] == result.total_metric_calls


@only("GEPA")
@pytest.mark.skipif(not GEPA_HAS_CALLBACKS, reason="this release of gepa has no callbacks")
def test_gepa_tells_what_its_reflections_have_proposed_and_what_became_of_it(compiled):
    record, reflections = compiled.top.record, notes(compiled, "reflection")
    assert len(reflections) == len(compiled.asked[REFLECTION])
    tried = {each["predictors"]["classify"]["instructions"] for each in record["programs"].values()}
    for each in reflections:
        assert each["components"] == ["classify"]
        assert each["proposals"]["classify"] in tried
        assert each["prompts"]["classify"]
    rejected = [each for each in record["candidates"] if each["status"] == "rejected"]
    accepted = [each for each in record["candidates"] if each["status"] == "accepted" and each["kind"] == "full"]
    assert len(rejected) + len(accepted) == len(reflections) + len(notes(compiled, "merge"))
    assert all(each["why"] and each["parents"] for each in rejected)
    assert not any("its parent" in each["why"] and "not better" in each["why"] for each in rejected)


@only("GEPA")
@pytest.mark.skipif(not GEPA_HAS_CALLBACKS, reason="this release of gepa has no callbacks")
def test_gepa_s_minibatches_have_what_they_took(compiled):
    candidates = compiled.top.record["candidates"]
    for each in candidates:
        assert {role: spent["calls"] for role, spent in each["usage"].items()} == {"task": each["rows"]}
        assert each["seconds"] > 0
    spent = sum(each["usage"]["task"]["total_tokens"] for each in candidates)
    assert spent == compiled.top.record["usage"]["task"]["total_tokens"]


@only("SIMBA")
def test_simba_s_candidates_have_no_figures_that_nobody_has_counted(compiled):
    assert {(each["seconds"], each["usage"]) for each in compiled.top.record["candidates"]} == {(None, None)}


@only("GEPA")
@pytest.mark.skipif(not GEPA_HAS_CALLBACKS, reason="this release of gepa has no callbacks")
def test_gepa_s_candidates_are_each_one_however_often_they_were_scored(compiled):
    record = compiled.top.record
    tried = [each for each in record["candidates"] if each["same_as"] is None]
    again = [each for each in record["candidates"] if each["same_as"] is not None]
    rejected = [each for each in tried if each["status"] == "rejected"]
    assert len(tried) == len(compiled.program.detailed_results.candidates) + len(rejected)
    assert f"It scored {len(tried)} candidates" in compiled.top.text("report.html")
    # Each reflection begins with a score of the parent.
    assert len(again) >= len(notes(compiled, "reflection"))
    for each in again:
        assert record["candidates"][each["same_as"]]["program"] == each["program"]
        assert each["kind"] == "minibatch"


@only("MIPROv2")
def test_mipro_tells_what_it_has_proposed_and_what_each_trial_has_chosen(compiled):
    (proposal,), (demo_sets,) = notes(compiled, "proposal"), notes(compiled, "demo_sets")
    assert (len(proposal["instructions"]), len(demo_sets["sets"])) == (3, 3)
    trials, logs = notes(compiled, "trial"), compiled.program.trial_logs
    assert [trial["number"] for trial in trials] == sorted(logs)
    candidates, programs = compiled.top.record["candidates"], compiled.top.record["programs"]
    for trial in trials:
        log, scored = logs[trial["number"]], candidates[trial["candidate"]]
        kept = {"full": "full_eval_score", "minibatch": "mb_score"}[trial["scored_on"]]
        assert (scored["kind"], scored["score"]) == (trial["scored_on"], pytest.approx(log[kept]))
        tried = programs[scored["program"]]["predictors"]["classify"]
        if chosen := trial["chosen"].get("classify"):
            assert tried["instructions"] == proposal["instructions"][chosen["instruction"]]
            assert tried["demos"] == demo_sets["sets"][chosen["demos"]]
    assert {trial["scored_on"] for trial in trials} == {"full", "minibatch"}


@only("SIMBA")
def test_simba_tells_its_buckets_and_what_its_strategies_have_added(compiled):
    buckets, record = notes(compiled, "bucket"), compiled.top.record
    assert Counter(bucket["step"] for bucket in buckets) == {0: 8, 1: 8}
    strategies = [note for note in notes(compiled, "strategy") if "candidate" in note]
    assert {note["name"] for note in strategies} <= {"append_a_demo", "append_a_rule"}
    assert strategies
    for note in strategies:
        tried = record["programs"][record["candidates"][note["candidate"]]["program"]]["predictors"]["classify"]
        added = note["added"].get("classify", {})
        assert added.get("rule", "") in tried["instructions"]
        assert all(demo in tried["demos"] for demo in added.get("demos", []))
    final = [each["score"] for each in compiled.program.candidate_programs]
    assert sorted(scores_of(record["candidates"], "train")) == pytest.approx(sorted(100 * each for each in final))
    assert len(scores_of(record["candidates"], "minibatch")) == len(strategies)


@only("SIMBA")
def test_simba_s_best_has_its_line_from_the_program_before_and_its_examples(compiled):
    record, best = compiled.top.record, compiled.best
    whole = [each for each in record["candidates"] if each["kind"] == "train"]
    assert len(whole) > 1
    assert {bool(each["parents"]) for each in whole if each["program"] != record["before"]} == {True}
    while best["parents"]:
        best = record["candidates"][best["parents"][0]]
    assert best["program"] == record["before"]
    before, after = ({row["id"]: row["score"] for row in record["rows"][which]} for which in ("before", "best"))
    assert before.keys() == after.keys()
    won = sum(after[each] > before[each] for each in before)
    assert f"the program before {won}" in " ".join(re.sub("<[^>]+>", " ", compiled.top.text("report.html")).split())
    assert record["rows"]["best"][0]["prediction"]["label"]


@pytest.mark.skipif("ReAnchor" not in CASES, reason="this release has no ReAnchor")
@only("ReAnchor")
def test_reanchor_has_each_setting_that_it_has_tried(compiled):
    record, predictor = compiled.top.record, compiled.program.classify
    programs = [record["programs"][each["program"]]["predictors"]["classify"] for each in record["candidates"]]
    assert "fields" not in programs[0]
    assert len({json.dumps(each.get("fields")) for each in programs}) > 2
    assert programs[record["best"]]["fields"]["label"]["threshold"] == predictor.fields["label"]["threshold"]
    assert record["best_score"] > record["baseline"]


@only("random search")
def test_random_search_has_the_candidates_that_it_gives_the_program(compiled):
    told = compiled.program.candidate_programs
    scores = scores_of(compiled.top.record["candidates"], "full")
    assert sorted(scores, reverse=True) == [each["score"] for each in told]


@only("BootstrapFinetune")
def test_a_program_that_was_trained_asks_the_new_model(compiled):
    assert compiled.program.classify.lm.model == "openai/finetuned"
    assert compiled.top.json("best_model.json")["classify"]["lm"]["model"] == "openai/finetuned"


# -- more than one ----------------------------------------------------------------------------


def recorded(name: str) -> None:
    mlflow.set_experiment(name)
    mlflow.dspy.autolog(log_compiles=True, log_evals=True)


def test_two_compiles_at_once_stay_apart(setting, models, tracking_server):
    models.begin()
    recorded("optimizers: two at once")
    start, failed = threading.Barrier(2), []

    def compile_with(make: Any, model: str) -> None:
        try:
            with dspy.context(lm=setting.lm(model)):
                start.wait()
                make(setting).compile(setting.program(), trainset=list(setting.trainset))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=compile_with, args=each) for each in ((own, TASK), (random_search, REFLECTION))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert flush(30)
    runs = stored_runs(tracking_server.client, "optimizers: two at once")
    tops = {run.name: run for run in runs if run.parent is None}
    assert tops.keys() == {"BestInstruction", "BootstrapFewShotWithRandomSearch"}
    for name, model in (("BestInstruction", TASK), ("BootstrapFewShotWithRandomSearch", REFLECTION)):
        top = tops[name]
        assert top.record["usage"]["task"]["calls"] == len(models.asked(model))
        below = sorted(run.name for run in runs if run.parent == top.id and run.name.startswith("eval_"))
        assert below == [f"eval_{number}" for number in range(len(top.record["candidates"]))]
        assert json.loads(top.params["lm_params"])["model"] == f"openai/{model}"
    assert {run.status for run in runs} == {"FINISHED"}


def test_two_runs_of_the_server_can_be_compared(setting, models, tracking_server):
    models.begin()
    recorded("optimizers: compared")
    for rounds in (1, 3):
        BestInstruction(INSTRUCTIONS, rounds).compile(setting.program(), trainset=list(setting.trainset))
    assert flush(30)
    first, second = [run for run in stored_runs(tracking_server.client, "optimizers: compared") if run.parent is None]
    comparison = mlflow.dspy.compare(first.id, second.id)
    scores = [run.metrics["best_score"] for run in (first, second)]
    assert [comparison.score_a, comparison.score_b] == pytest.approx(scores)
    assert comparison.difference == pytest.approx(scores[1] - scores[0])
    assert comparison.difference > 0
    assert comparison.interval[0] <= comparison.difference <= comparison.interval[1]
    assert len(comparison.won) + len(comparison.lost) + len(comparison.same) == len(setting.trainset)
    assert set(comparison.table["inputs.text"]) == {example.text for example in setting.trainset}
    assert "BestInstruction" in comparison.page()


# -- what cannot run --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("dspy.teleprompt.avatar_optimizer:AvatarOptimizer", AttributeError, "TypedPredictor"),
        ("dspy.teleprompt.signature_opt:SignatureOptimizer", TypeError, "positional arguments"),
    ],
)
def test_two_optimizers_of_the_release_cannot_even_be_made(path, error, message):
    """They call what DSPy no longer has: the table is without them. The day they work again, they belong there."""
    module, name = path.split(":")
    with pytest.raises(error, match=message):
        getattr(importlib.import_module(module), name)(metric=lambda *_: True)


def test_the_table_has_every_other_optimizer_of_the_release():
    known = {case.name for case in CASES.values()} | {"AvatarOptimizer", "SignatureOptimizer"}
    for module in pkgutil.walk_packages(dspy.teleprompt.__path__, "dspy.teleprompt."):
        importlib.import_module(module.name)
    found = {cls for cls in subclasses(Teleprompter) if cls.__module__.startswith("dspy.")}
    # A base of others, without a `compile` of its own.
    assert {cls.__name__ for cls in found if "compile" in vars(cls)} <= known


def subclasses(cls: type) -> set[type]:
    """All classes below a class."""
    below = set(cls.__subclasses__())
    return below.union(*map(subclasses, below))

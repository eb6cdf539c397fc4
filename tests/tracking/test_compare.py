"""Two runs of a real store, compared example by example."""

import html
import json

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient

from mlflow_dspy_plugin.errors import ComparisonError
from mlflow_dspy_plugin.tracking.compare import compare
from tests.tracking.records import record, row, rows
from tests.tracking.report.reader import Page
from tests.tracking.report.test_page import CANARY


@pytest.fixture
def log():
    """Makes a run with these artifacts; returns its id."""

    def make(name="run", **artifacts):
        client = MlflowClient()
        run = client.create_run("1", run_name=name)
        for stem, value in artifacts.items():
            client.log_text(run.info.run_id, value if isinstance(value, str) else json.dumps(value), f"{stem}.json")
        client.set_terminated(run.info.run_id)
        return run.info.run_id

    return make


def table_of(written):
    """Rows in MLflow's own columns."""
    columns = ["score", "example_text", "example_topic", "pred_topic"]
    cells = [[r["score"], r["inputs"]["text"], r["expected"]["topic"], r["prediction"]["topic"]] for r in written]
    return {"columns": columns, "data": cells}


def test_two_evaluations_are_compared(log):
    found = compare(log("before", rows=rows(16, first=47)), log("after", rows=rows(28)))
    assert (len(found.won), len(found.lost), len(found.same), len(found.unscored)) == (15, 3, 32, 0)
    assert (found.score_a, found.score_b, found.difference) == pytest.approx((32.0, 56.0, 24.0))
    low, high = found.interval
    assert 5 < low < 24 < high < 45
    assert found.resamples == 10_000
    assert found.names == ("before", "after")
    assert str(found).startswith("after is better than before by 24.0 points (95% interval +")
    assert str(found).endswith("10,000 resamples): 15 won, 3 lost, 32 the same.")


def test_the_same_runs_give_the_same_and_the_other_way_round_the_opposite(log):
    a, b = log(rows=rows(16, first=47)), log(rows=rows(28))
    found, again, back = compare(a, b), compare(a, b), compare(b, a)
    assert found.interval == again.interval
    assert found.page() == again.page()
    assert back.difference == -found.difference
    assert [pair.id for pair in back.lost] == [pair.id for pair in found.won]


def test_a_run_can_be_given_as_a_run_and_of_a_compile_its_best_is_compared(log):
    a = log(rows=rows(16, first=47))
    b = log(optimization=record())
    found = compare(mlflow.get_run(a), mlflow.get_run(b))
    assert (found.run_a, found.run_b) == (a, b)
    assert found.score_b == 56.0
    assert [name[:4] for name in found.names] == ["run ", "run "]
    assert found.names[0] != found.names[1]


def test_tables_of_mlflows_own_flavor_are_compared_with_each_other_and_with_rows(log):
    before, after = rows(16, first=47), rows(28)
    table_a, table_b = log(result_table=table_of(before)), log(result_table=table_of(after))
    rows_b = log(rows=after)
    found = [compare(table_a, table_b), compare(table_a, rows_b)]
    assert [(len(each.won), len(each.lost), len(each.same)) for each in found] == [(15, 3, 32)] * 2
    assert found[0].interval == found[1].interval
    [won] = [pair for pair in found[0].won if pair.b["inputs"]["text"].endswith("(#20)")]
    assert (won.a["expected"], won.a["prediction"], won.b["prediction"]) == (
        {"topic": "earn"},
        {"topic": "trade"},
        {"topic": "earn"},
    )


def test_a_table_that_mlflow_has_written_is_read(log):
    written = table_of([row(1, True), row(2, False)])
    frame = pd.DataFrame(written["data"], columns=written["columns"])
    a, b = log(), log(rows=[row(1, False), row(2, False)])
    MlflowClient().log_table(a, frame, "result_table.json")
    assert [pair.change for pair in (*compare(a, b).lost, *compare(a, b).same)] == [-1.0, 0.0]


def test_rows_that_cannot_be_compared_are_told(log):
    a = log(rows=[row(1, True), row(2, True), row(3, True, score=None)])
    b = log(rows=[row(1, False), row(3, True), row(4, True), row(5, True)])
    found = compare(a, b)
    assert [each["id"] for each in found.only_a] == ["digest-2"]
    assert [each["id"] for each in found.only_b] == ["digest-4", "digest-5"]
    assert [pair.id for pair in found.unscored] == ["digest-3"]
    assert (found.score_a, found.score_b) == (100.0, 0.0)
    said = "1 example has no score in one of the two; 1 example was only given to A; 2 examples were only given to B"
    assert said in Page(found.page()).text


def test_no_score_at_all_is_no_difference(log):
    a, b = log(rows=[row(1, True, score=None)]), log(rows=[row(1, True)])
    found = compare(a, b)
    assert (found.difference, found.interval, found.resamples) == (None, None, 0)
    assert "have no example that both have scored" in str(found)
    Page(found.page()).assert_harmless()


def test_the_table_has_a_row_for_every_example(log):
    a = log(rows=[row(1, False), row(2, True), row(3, True)])
    b = log(rows=[row(1, True), row(2, True), row(4, True, error="late")])
    table = compare(a, b).table
    assert list(table["outcome"]) == ["won", "same", "only in a", "only in b"]
    assert list(table.index) == ["digest-1", "digest-2", "digest-3", "digest-4"]
    first = table.loc["digest-1"]
    assert (first["score_a"], first["score_b"], first["change"]) == (0.0, 1.0, 1.0)
    assert (first["prediction_a.topic"], first["prediction_b.topic"], first["expected.topic"]) == (
        "trade",
        "crude",
        "crude",
    )
    assert table.loc["digest-4", "error_b"] == "late"


def test_the_page_says_who_is_better_how_sure_that_is_and_which_examples_changed(log):
    page = Page(compare(log("before", rows=rows(16, first=47)), log("after", rows=rows(28))).page())
    page.assert_harmless()
    assert "after is better than before by 24.0 points" in page.text
    assert "a paired bootstrap's, of 10,000 resamples of these examples; it does not hold zero" in page.text
    assert "Won: B scores higher than A 15" in page.text


def test_a_difference_that_may_be_chance_is_called_that(log):
    found = compare(log("one", rows=rows(25)), log("two", rows=rows(26)))
    assert str(found).startswith("No sure difference between one and two")
    assert "holds zero: it may be chance" in Page(found.page()).text


def test_a_notebook_shows_the_page_in_a_frame_where_nothing_runs(log):
    found = compare(log(rows=rows(16)), log(rows=rows(28)))
    frame = Page(found._repr_html_().replace("<iframe", "<div").replace("</iframe>", "</div>"))
    [(_, attributes)] = frame.elements
    assert attributes["sandbox"] == ""
    assert attributes["srcdoc"] == found.page()
    assert html.escape(found.page()) in found._repr_html_()


def test_no_text_gets_out_of_its_place(log):
    bad = {"inputs": {CANARY: CANARY}, "expected": {CANARY: CANARY}, "prediction": {CANARY: CANARY}, "error": CANARY}
    a, b = log(f"a{CANARY}", rows=[row(1, False, **bad)]), log(f"b{CANARY}", rows=[row(1, True, **bad)])
    page = Page(compare(a, b).page())
    page.assert_harmless()
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text


def test_the_page_is_saved(log, tmp_path):
    found = compare(log(rows=rows(16)), log(rows=rows(28)))
    path = found.save(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == found.page()


def test_a_comparison_is_short_to_look_at_and_cannot_be_changed(log):
    found = compare(log(rows=rows(16)), log(rows=rows(28)))
    assert len(repr(found)) < 600
    with pytest.raises(AttributeError, match="cannot assign"):
        found.score_a = 1.0


def test_another_store_is_read_where_it_is_named(log, tmp_path):
    here = log(rows=rows(28))
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    client = MlflowClient(elsewhere)
    experiment = client.create_experiment("other", artifact_location=(tmp_path / "artifacts").as_uri())
    there = [client.create_run(experiment).info.run_id for _ in range(2)]
    for run_id, written in zip(there, (rows(16), rows(28)), strict=True):
        client.log_text(run_id, json.dumps(written), "rows.json")
    assert compare(*there, tracking_uri=elsewhere).score_b == 56.0
    with pytest.raises(ComparisonError, match=f"no run '{here}' in the tracking store sqlite:.*other.db.*tracking_uri"):
        compare(here, there[0], tracking_uri=elsewhere)


@pytest.mark.parametrize("unknown", ["0" * 32, "no such run"])
def test_an_unknown_run_is_named(log, unknown):
    with pytest.raises(ComparisonError, match=f"There is no run '{unknown}' in the tracking store .*search_runs"):
        compare(log(rows=rows(1)), unknown)


@pytest.mark.parametrize("given", [None, 7, "", {}], ids=str)
def test_what_is_no_run_is_refused(given):
    with pytest.raises(ComparisonError, match="A run is its id or an mlflow.entities.Run, not .* Give one of these"):
        compare(given, given)


def test_a_run_without_rows_says_what_it_has(log):
    empty, compiled = log("empty"), log("compiled", optimization=record(rows={"before": [], "best": []}), other={})
    with pytest.raises(
        ComparisonError, match=r"\(empty\) has no rows to compare: .* it has no artifacts. Give the run of"
    ):
        compare(log(rows=rows(1)), empty)
    with pytest.raises(ComparisonError, match="it has optimization.json, other.json"):
        compare(compiled, empty)


def test_runs_with_nothing_in_common_are_refused(log):
    a, b = log("one", rows=[row(1, True)]), log("two", rows=[row(2, True)])
    with pytest.raises(
        ComparisonError, match=r"\(one, 1 rows in rows.json\) .* have no example in common. Evaluate both on"
    ):
        compare(a, b)


@pytest.mark.parametrize("written", ["{not json", "5", '{"columns": ["a"]}', '"text"', "null"])
@pytest.mark.parametrize("stem", ["rows", "optimization", "result_table"])
def test_a_damaged_artifact_is_named(log, stem, written):
    with pytest.raises(ComparisonError, match=f"({stem}.json of the run .* is damaged|has no rows to compare)"):
        compare(log(**{stem: written}), log(rows=rows(1)))


@pytest.mark.parametrize("resamples", [0, -1, 2.5, None])
def test_resamples_is_a_whole_number(resamples):
    with pytest.raises(ComparisonError, match="resamples is .* Give a whole number of at least 1"):
        compare("a", "b", resamples=resamples)


@pytest.mark.parametrize("examples", [1, 9])
def test_a_few_examples_are_said_to_be_too_few(examples, log):
    wrong, right = ([row(number, good) for number in range(examples)] for good in (False, True))
    found = compare(log(rows=wrong), log(rows=right))
    assert (found.difference, found.interval) == (100.0, None)
    assert f"on {examples} examples, too few to tell" in str(found)
    assert "An interval takes at least 10 examples" in Page(found.page()).text


def test_of_several_evaluations_in_one_run_the_last_is_compared(log):
    first, last = rows(16, first=47), rows(28)
    found = compare(log(rows=first), log(rows=first, rows_1=first, rows_10=last))
    assert found.difference == pytest.approx(24.0)

"""Examples that changed side, with what was asked, expected and answered."""

from mlflow_dspy_plugin.tracking.report.examples import examples
from tests.tracking.records import record, row
from tests.tracking.report.reader import Page


def between(before, best):
    return Page(examples(record(rows={"before": before, "best": best})))


def test_won_lost_and_same_are_counted():
    page = Page(examples(record()))
    assert "15 won" in page.text
    assert "32 stayed the same" in page.text
    assert "3 lost" in page.text


def test_a_won_example_shows_input_expectation_and_both_answers():
    page = between([row(1, False), row(2, True)], [row(1, True), row(2, True)])
    assert "OPEC ministers agreed" in page.text
    assert "The Bank of Japan" not in page.text
    assert "topic crude score 0 topic trade trace tr-00000001 score 1 topic crude" in page.text


def test_a_lost_example_shows_the_error_that_lost_it():
    failed = row(1, False, error="ValueError: no topic", prediction={})
    page = between([row(1, True)], [failed])
    assert "Lost: the best program scores lower than the program before 1" in page.text
    assert "failed: ValueError: no topic" in page.text


def test_the_largest_changes_come_first_and_the_rest_is_counted():
    before = [row(number, False, score=0.0) for number in range(40)]
    best = [row(number, True, score=(number + 1) / 40) for number in range(40)]
    page = between(before, best)
    assert page.classes("example") == 30
    assert "22 more" in page.text
    assert "(#39)" in page.text
    assert "(#9)" not in page.text
    assert "10 others are left out here." in page.text


def test_what_cannot_be_compared_is_told():
    page = between([row(1, True), row(2, True, score=None)], [row(1, True), row(2, True), row(3, True), row(4, True)])
    assert (
        "Not compared: 1 example has no score in one of the two; 2 examples were only given to the best program."
        in page.text
    )


def test_without_rows_it_says_what_is_missing():
    assert "neither the program before nor the best one" in between([], []).text
    assert "only one of the two programs" in between([row(1, True)], []).text

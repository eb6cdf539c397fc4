"""Rows of two evaluations, paired by their examples; and how sure their difference is."""

import math

import pytest

from mlflow_dspy_plugin.tracking.bootstrap import paired_difference
from mlflow_dspy_plugin.tracking.pairs import digest_of, pair_rows
from tests.tracking.records import row


def ids(pairs):
    return [pair.id for pair in pairs]


def test_examples_change_side_by_their_scores():
    a = [row(1, False), row(2, True), row(3, True), row(4, False), row(5, True, score=None)]
    b = [row(5, True), row(4, False), row(3, True), row(2, False), row(1, True)]
    pairs = pair_rows(a, b)
    assert ids(pairs.won) == ["digest-1"]
    assert ids(pairs.lost) == ["digest-2"]
    assert sorted(ids(pairs.same)) == ["digest-3", "digest-4"]
    assert ids(pairs.unscored) == ["digest-5"]


def test_rows_that_only_one_has_are_kept_apart():
    pairs = pair_rows([row(1, True), row(2, True)], [row(2, True), row(3, True)])
    assert ids(pairs.both) == ["digest-2"]
    assert [each["id"] for each in pairs.only_a] == ["digest-1"]
    assert [each["id"] for each in pairs.only_b] == ["digest-3"]


def test_an_example_that_is_there_twice_makes_two_pairs():
    pairs = pair_rows([row(1, True), row(1, False)], [row(1, True), row(1, True), row(1, True)])
    assert [pair.change for pair in pairs.both] == [0.0, 1.0]
    assert len(pairs.only_b) == 1


@pytest.mark.parametrize("score", [None, math.nan, math.inf, "1.0", {"score": 1}, []], ids=str)
def test_what_is_no_number_is_no_score(score):
    pairs = pair_rows([row(1, True)], [row(1, True, score=score)])
    assert ids(pairs.unscored) == ["digest-1"]


def test_true_is_one_and_false_is_nought():
    [pair] = pair_rows([row(1, True, score=False)], [row(1, True, score=True)]).both
    assert pair.change == 1.0


def test_the_same_fields_have_the_same_digest_in_any_order():
    assert digest_of({"a": 1, "b": ["x", 2.0]}) == digest_of({"b": ["x", 2], "a": 1.0})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
    assert len({digest_of({"a": text}) for text in ("é", "e", "\ud800", "")}) == 4


def test_the_interval_is_the_same_every_time_and_holds_the_difference():
    a, b = [0.0, 1.0] * 25, [1.0, 1.0, 0.0, 1.0] * 12 + [1.0, 1.0]
    first, again = (paired_difference(a, b, resamples=2_000, seed=7) for _ in range(2))
    assert first == again
    low, high = first.interval
    assert low < first.difference < high
    assert (first.score_a, first.score_b, first.examples, first.resamples) == (50.0, 76.0, 50, 2_000)
    assert first.difference == pytest.approx(26.0)


def test_another_seed_draws_other_resamples():
    a, b = [0.0] * 40, [number**0.5 for number in range(40)]
    one, other = (paired_difference(a, b, resamples=500, seed=seed).interval for seed in (7, 8))
    assert one != other
    assert one == pytest.approx(other, rel=0.1)


def test_the_interval_is_that_of_the_normal_approximation_where_that_holds():
    changes = [1.0] * 30 + [-1.0] * 10 + [0.0] * 160
    found = paired_difference([0.0] * 200, changes, resamples=10_000, seed=0)
    error = 100 * math.sqrt((40 / 200 - (20 / 200) ** 2) / 200)
    assert found.interval == pytest.approx((10 - 1.96 * error, 10 + 1.96 * error), abs=0.5)


def test_where_every_example_is_the_same_the_interval_is_nought():
    assert paired_difference([1.0] * 10, [1.0] * 10, resamples=100, seed=0).interval == (0.0, 0.0)


def test_large_sets_are_resampled_in_parts():
    a, b = [0.0] * 30_000, [0.0, 1.0] * 15_000
    low, high = paired_difference(a, b, resamples=200, seed=0).interval
    assert 49 < low < 50 < high < 51


def test_without_examples_there_is_no_difference():
    found = paired_difference([], [], resamples=100, seed=0)
    assert (found.difference, found.interval, found.score_a) == (None, None, None)

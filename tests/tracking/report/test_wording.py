"""Scores, money, times and counts as people say them."""

import pytest

from mlflow_dspy_plugin.tracking.report import wording


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wording.percent(31.04), "31.0%"),
        (wording.percent(-1234.5), "−1,234.5%"),
        (wording.percent(None), "–"),
        (wording.points(25.0), "+25.0 points"),
        (wording.points(-2.5), "−2.5 points"),
        (wording.points(-0.01), "0.0 points"),
        (wording.points(None), "–"),
        (wording.mark(1.0), "1"),
        (wording.mark(0.5), "0.5"),
        (wording.mark(-1200.0), "−1,200"),
        (wording.mark(None), "–"),
        (wording.number(1234567), "1,234,567"),
        (wording.counted(1, "call"), "1 call"),
        (wording.counted(0, "call"), "0 calls"),
        (wording.money(None), "unknown"),
        (wording.money(0), "$0"),
        (wording.money(0.0000001), "< $0.000001"),
        (wording.money(0.00012), "$0.000120"),
        (wording.money(0.0123), "$0.0123"),
        (wording.money(1234.5), "$1,234.50"),
        (wording.duration(None), "–"),
        (wording.duration(0), "0.0 s"),
        (wording.duration(0.05), "50 ms"),
        (wording.duration(12.34), "12.3 s"),
        (wording.duration(125), "2 min 5 s"),
        (wording.duration(7260), "2 h 1 min"),
        (wording.moment(1732200000.0), "2024-11-21 14:40:00 UTC"),
    ],
)
def test_figures_are_said_as_people_say_them(said, expected):
    assert said == expected

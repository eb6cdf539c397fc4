"""Money and time, by what they were spent on."""

from mlflow_dspy_plugin.tracking.report.reading import spent
from mlflow_dspy_plugin.tracking.report.spending import spending
from tests.tracking.records import record, usage
from tests.tracking.report.reader import Page


def test_each_role_has_its_row_and_the_last_is_the_sum():
    text = Page(spending(record())).text
    assert "Task LM 412 20 86,520 4,944 91,464 $0.0412 16.5 s" in text
    assert "Reflection LM 11 0 2,310 132 2,442 $0.1320" in text
    assert "All 423 20 88,830 5,076 93,906 $0.1732 16.9 s" in text


def test_each_gained_point_has_its_price():
    assert "Each point gained cost $0.0069." in Page(spending(record())).text
    assert "Each point" not in Page(spending(record(best_score=31.0))).text


def test_a_cost_of_which_nothing_is_known_is_not_at_least_nothing():
    text = Page(spending(record(usage={"task": usage(10, None)}))).text
    assert "$0" not in text
    assert "The cost of all calls is not known." in text


def test_a_cost_that_is_partly_unknown_is_at_least_what_is_known():
    text = Page(spending(record(usage={"task": usage(10, 0.5), "reflection": usage(1, None)}))).text
    assert "at least $0.5000" in text
    assert "The cost of some calls is not known." in text
    assert "222 tokens" in text


def test_a_role_that_made_no_call_makes_no_cost_unknown():
    assert spent([usage(3, 0.5), usage(0, None)]).whole_cost
    assert spent([]).cost is None
    assert not spent([usage(3, None)]).whole_cost


def test_no_calls_are_said_to_be_none():
    assert "No LM call was seen. It took 1 min 58 s." in Page(spending(record(usage={}))).text

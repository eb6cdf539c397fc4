"""The versions of a saved program, and the warning where others are installed."""

import logging
import sys
from importlib.metadata import version

import dspy
import pytest

from mlflow_dspy_plugin.needs.versions import versions_now, warn_of_differences
from tests.packaging.no_store import store  # noqa: F401


def warnings_of(caplog, recorded) -> list[str]:
    with caplog.at_level(logging.WARNING):
        warn_of_differences(recorded)
    return [record.getMessage() for record in caplog.records]


def test_python_dspy_and_the_installed_backends_are_recorded():
    assert versions_now() == {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "dspy": dspy.__version__,
        "litellm": ".".join(version("litellm").split(".")[:2]),
    }


@pytest.mark.parametrize("recorded", [versions_now(), {}, {"dspy": dspy.__version__}], ids=["all", "none", "some"])
def test_nothing_is_said_where_all_that_was_recorded_is_the_same(caplog, recorded):
    assert warnings_of(caplog, recorded) == []


def test_one_warning_names_all_that_differs_and_nothing_else(caplog):
    now = versions_now()
    recorded = {**now, "python": "3.7", "dspy": "2.6.1", "lm15": "1.0"}
    (message,) = warnings_of(caplog, recorded)
    assert f"python 3.7 (here: {now['python']}), dspy 2.6.1 (here: {now['dspy']}), lm15 1.0 (here: none)." in message
    assert "litellm" not in message

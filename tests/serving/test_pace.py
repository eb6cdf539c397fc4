"""The pace of MLflow's scoring server, as the environment says it."""

import asyncio
import sys
import types

import dspy
import fastapi
import mlflow
import pytest

from mlflow_dspy_plugin.serving.pyfunc import _load_pyfunc
from tests.packaging.no_store import store  # noqa: F401


async def pace_of(app: fastapi.FastAPI):
    """How many requests are answered at a time and may wait; or None."""
    async with app.router.lifespan_context(app):
        if app.middleware_stack is None:
            return None
        admission = app.middleware_stack._answer.__self__._admission
        return admission._at_a_time, admission._waiting


@pytest.fixture
def pace(monkeypatch):
    """Tells the pace of a server that loads its model here."""
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model")
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc.scoring_server.app", types.ModuleType("app"))

    def told(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"MLFLOW_DSPY_SERVING_{name}", value)
        _load_pyfunc("model")
        return asyncio.run(pace_of(fastapi.FastAPI()))

    return told


def test_the_environment_says_how_many_requests_are_answered_at_a_time(pace):
    assert pace(CONCURRENCY="7", QUEUE="3") == (7, 3)


@pytest.mark.parametrize(
    ("variables", "told"),
    [({"CONCURRENCY": "7", "QUEUE": "many"}, (7, 1024)), ({"CONCURRENCY": "-1", "QUEUE": "3"}, (64, 3))],
)
def test_a_variable_that_is_ill_set_leaves_its_own_default_and_one_line(variables, told, pace, caplog):
    assert pace(**variables) == told
    [line] = [each for each in caplog.records if each.name == "mlflow_dspy_plugin" and "whole number" in each.message]
    assert "Set it to a whole number" in line.getMessage()
    assert line.exc_info is None


def test_nought_leaves_the_pace_to_mlflow(pace):
    assert pace(CONCURRENCY="0") is None

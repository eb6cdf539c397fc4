"""The pace of MLflow's scoring server, as the environment says it."""

import asyncio
import sys
import types

import fastapi
import pytest

from mlflow_dspy_plugin.serving.pace import pace_server


async def pool_of(app: fastapi.FastAPI):
    """The default executor of the event loop that the app runs in."""
    async with app.router.lifespan_context(app):
        return asyncio.get_running_loop()._default_executor


@pytest.fixture
def pool(monkeypatch):
    """Tells which pool the server gets that loads its model here."""
    monkeypatch.setitem(sys.modules, "mlflow.pyfunc.scoring_server.app", types.ModuleType("app"))

    def made(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"MLFLOW_DSPY_SERVING_{name}", value)
        pace_server()
        return asyncio.run(pool_of(fastapi.FastAPI()))

    return made


def test_the_environment_says_how_many_requests_are_answered_at_a_time(pool):
    made = pool(CONCURRENCY="7", QUEUE="3")
    assert (made._max_workers, made._room._value) == (7, 10)


@pytest.mark.parametrize(
    ("variables", "threads", "room"),
    [({"CONCURRENCY": "7", "QUEUE": "many"}, 7, 7 + 1024), ({"CONCURRENCY": "-1", "QUEUE": "3"}, 64, 64 + 3)],
)
def test_a_variable_that_is_ill_set_leaves_its_own_default_and_one_line(variables, threads, room, pool, caplog):
    made = pool(**variables)
    assert (made._max_workers, made._room._value) == (threads, room)
    [line] = [record for record in caplog.records if record.name == "mlflow_dspy_plugin"]
    assert "Set it to a whole number" in line.getMessage()
    assert line.exc_info is None


def test_nought_leaves_the_pace_to_mlflow(pool):
    assert pool(CONCURRENCY="0") is None

"""The pool of threads in which MLflow's scoring server answers, and the app that gets it."""

import asyncio
import contextlib
import threading

import fastapi
import pytest
from mlflow.exceptions import MlflowException

from mlflow_dspy_plugin.seams.scoring_server import BoundedPool, answer_at_a_time, loads_for_server


async def pool_of(app: fastapi.FastAPI):
    """The default executor of the event loop that the app runs in."""
    async with app.router.lifespan_context(app):
        return asyncio.get_running_loop()._default_executor


def test_a_full_pool_refuses_and_takes_more_once_it_has_answered():
    go = threading.Event()
    with BoundedPool(1, 1) as pool:
        under_way = [pool.submit(go.wait) for _ in range(2)]
        with pytest.raises(MlflowException, match="again later") as refused:
            pool.submit(go.wait)
        assert refused.value.get_http_status_code() == 503
        go.set()
        assert all(future.result(10) for future in under_way)
        assert pool.submit(lambda: "taken").result(10) == "taken"


def test_what_is_cancelled_while_it_waits_leaves_its_room():
    go = threading.Event()
    with BoundedPool(1, 1) as pool:
        pool.submit(go.wait)
        assert pool.submit(go.wait).cancel()
        taken = pool.submit(lambda: "taken")
        go.set()
        assert taken.result(10) == "taken"


def test_only_the_next_app_gets_the_pool():
    answer_at_a_time(3, 5)
    first, second = fastapi.FastAPI(), fastapi.FastAPI()
    assert isinstance(asyncio.run(pool_of(first)), BoundedPool)
    assert asyncio.run(pool_of(first))._max_workers == 3
    assert asyncio.run(pool_of(second)) is None


def test_an_app_with_a_lifespan_of_its_own_keeps_it():
    answer_at_a_time(3, 5)
    begun = []

    @contextlib.asynccontextmanager
    async def own(app):
        begun.append(app)
        yield

    app = fastapi.FastAPI(lifespan=own)
    assert asyncio.run(pool_of(app)) is None
    assert begun == [app]


def test_a_fastapi_without_lifespans_is_left_as_it_is(monkeypatch):
    def __init__(self, title="app"):
        self.title = title

    monkeypatch.setattr(fastapi.FastAPI, "__init__", __init__)
    answer_at_a_time(3, 5)
    assert fastapi.FastAPI.__init__ is __init__
    assert fastapi.FastAPI().title == "app"


def test_no_server_loads_here():
    assert not loads_for_server()

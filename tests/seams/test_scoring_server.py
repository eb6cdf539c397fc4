"""What answers the requests to a model in place of MLflow's own way."""

import asyncio
import contextlib

import fastapi
import httpx

from mlflow_dspy_plugin.errors import InputError
from mlflow_dspy_plugin.seams.scoring_server import answer_by, loads_for_server


async def answer(body: bytes, content_type: str) -> str:
    if body == b"wrong":
        raise InputError("it does not fit")
    if body == b"slow":
        await asyncio.sleep(60)
    return f"{body.decode()} as {content_type}"


def made(**options) -> fastapi.FastAPI:
    app = fastapi.FastAPI(**options)

    @app.post("/invocations")
    async def invocations() -> str:
        return "MLflow's"

    @app.get("/ping")
    async def ping() -> str:
        return "pong"

    return app


async def asked(app: fastapi.FastAPI, *requests: tuple[str, str, bytes]) -> list[tuple[int, str]]:
    """The statuses and texts of the answers to requests, and how many threads the loop's executor has."""
    go, begun = asyncio.Event(), asyncio.Event()

    async def receive():
        if not begun.is_set():
            return {"type": "lifespan.startup"}
        await go.wait()
        return {"type": "lifespan.shutdown"}

    async def send(message):
        begun.set()

    # As a server does it: through the app, which has made its middleware by then.
    lifespan = asyncio.ensure_future(app({"type": "lifespan", "app": app}, receive, send))
    await begun.wait()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        answers = [
            await client.request(method, path, content=body, headers={"Content-Type": "text/x"})
            for method, path, body in requests
        ]
    go.set()
    await lifespan
    return [(each.status_code, each.text) for each in answers]


INVOCATION = ("POST", "/invocations", b"why?")


def test_only_the_requests_to_the_model_of_the_next_app_are_answered():
    answer_by(answer)
    first, second = made(), made()
    answers = asyncio.run(asked(first, INVOCATION, ("GET", "/ping", b""), ("GET", "/invocations", b"")))
    assert answers[:2] == [(200, "why? as text/x"), (200, '"pong"')]
    assert answers[2][0] == 405
    assert asyncio.run(asked(second, INVOCATION)) == [(200, '"MLflow\'s"')]


def test_an_error_and_what_takes_too_long_have_the_status_and_the_form_that_mlflow_gives_them(monkeypatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "1")
    answer_by(answer)
    wrong, slow = asyncio.run(asked(made(), ("POST", "/invocations", b"wrong"), ("POST", "/invocations", b"slow")))
    assert wrong == (400, InputError("it does not fit").serialize_as_json())
    assert slow == (504, "Request processing time exceeded limit")


def test_an_app_with_a_lifespan_of_its_own_keeps_it():
    answer_by(answer)
    begun = []

    @contextlib.asynccontextmanager
    async def own(app):
        begun.append(app)
        yield

    app = made(lifespan=own)
    assert asyncio.run(asked(app, INVOCATION)) == [(200, '"MLflow\'s"')]
    assert begun == [app]


def test_a_fastapi_without_lifespans_is_left_as_it_is(monkeypatch):
    def __init__(self, title="app"):
        self.title = title

    monkeypatch.setattr(fastapi.FastAPI, "__init__", __init__)
    answer_by(answer)
    assert fastapi.FastAPI.__init__ is __init__
    assert fastapi.FastAPI().title == "app"


def test_no_server_loads_here():
    assert not loads_for_server()

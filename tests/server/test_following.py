"""A model that is served by an alias follows it: against a registry in SQLite, with versions that take over or fail."""

import threading

import mlflow
import pytest

from mlflow_dspy_plugin.server.following import Followed, Follower, Following, followed_among
from tests.conftest import store  # noqa: F401, the registry is in it

QA = Followed("qa", "qa", "prod")
EVERY = 10.0
KEY = "sk-canary0following0123456789"


@pytest.fixture
def client(tmp_path) -> mlflow.MlflowClient:
    """A registry with three versions of a model; its alias is at the first."""
    client = mlflow.MlflowClient()
    client.create_registered_model("qa")
    for _ in range(3):
        client.create_model_version("qa", tmp_path.as_uri())
    client.set_registered_model_alias("qa", "prod", "1")
    return client


class Server:
    """What is served, by a clock that stands still until it is set."""

    def __init__(self) -> None:
        self.version, self.now, self.failing = "1", 0.0, set()
        self.tried: list[str] = []
        self.noted: list[tuple[str, type]] = []
        self.follower = Follower(QA, lambda: self.version, self.take_over, self.note, EVERY, lambda: self.now)

    def note(self, version: str, error: BaseException | None) -> None:
        self.noted.append((version, type(error)))

    def take_over(self, version: str) -> None:
        self.tried.append(version)
        if version in self.failing:
            raise RuntimeError(f"no program; the key was {KEY}")
        self.version = version


@pytest.fixture
def server(client) -> Server:
    return Server()


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "mlflow_dspy_plugin"]


def watchers() -> list[threading.Thread]:
    """The threads that look after aliases."""
    return [thread for thread in threading.enumerate() if thread.name == "mlflow-dspy-following"]


def test_models_by_alias_are_followed_and_others_are_not():
    uris = {
        "qa": "models:/qa@prod",
        "cat": "models:/main.zoo.qa@champion-2",
        "version": "models:/qa/1",
        "id": "models:/m-0123",
        "stage": "models:/qa/Production",
        "folder": "/models/qa@prod",
        "run": "runs:/0123/qa",
    }
    assert list(followed_among(uris)) == [QA, Followed("cat", "main.zoo.qa", "champion-2")]


def test_nothing_is_loaded_while_the_alias_stays(server):
    for _ in range(3):
        server.follower.look()
    assert server.tried == []


def test_the_version_the_alias_moves_to_takes_over(server, client, caplog):
    client.set_registered_model_alias("qa", "prod", "2")
    server.follower.look()
    server.follower.look()
    assert server.tried == ["2"] and server.version == "2" and server.follower.refused is None
    assert warnings_in(caplog) == ["qa@prod is served in version 2 now, and was in 1."]


def test_the_version_that_is_loaded_is_named_by_its_number_and_not_by_the_alias():
    assert QA.uri_of("2") == "models:/qa/2"


def test_an_alias_may_move_back(server, client):
    for version in ("3", "1"):
        client.set_registered_model_alias("qa", "prod", version)
        server.follower.look()
    assert server.tried == ["3", "1"]


def test_a_version_that_fails_leaves_the_old_one_and_is_told_of_once_without_secrets(server, client, caplog):
    server.failing = {"2"}
    client.set_registered_model_alias("qa", "prod", "2")
    for server.now in (0.0, 100.0, 1000.0):
        server.follower.look()
    assert server.version == "1" and server.tried == ["2"] * 3 and server.follower.refusals == 3
    (told,) = warnings_in(caplog)
    assert told.startswith("qa@prod has moved to version 2, which cannot be served: RuntimeError: no program")
    refused = server.follower.refused
    assert (refused.version, refused.tries) == ("2", 3)
    assert KEY not in told and KEY not in refused.reason


def test_it_is_tried_again_later_and_ever_more_seldom(server, client):
    server.failing = {"2"}
    client.set_registered_model_alias("qa", "prod", "2")
    tried_at = []
    for server.now in range(0, 2000, 10):
        before = len(server.tried)
        server.follower.look()
        tried_at += [server.now] * (len(server.tried) - before)
    waits = [later - sooner for sooner, later in zip(tried_at, tried_at[1:], strict=False)]
    assert waits == [20, 40, 80, 160, 300, 300, 300, 300, 300]


def test_one_that_fails_no_more_takes_over(server, client):
    server.failing = {"2"}
    client.set_registered_model_alias("qa", "prod", "2")
    server.follower.look()
    server.failing, server.now = set(), 2 * EVERY
    server.follower.look()
    assert server.version == "2" and server.follower.refused is None
    assert server.noted == [("2", RuntimeError), ("2", type(None))]


def test_another_version_is_tried_at_once_and_told_of(server, client, caplog):
    server.failing = {"2", "3"}
    for version in ("2", "3"):
        client.set_registered_model_alias("qa", "prod", version)
        server.follower.look()
    assert server.tried == ["2", "3"] and len(warnings_in(caplog)) == 2


def test_an_alias_that_goes_back_from_a_failing_version_is_at_rest(server, client):
    server.failing = {"2"}
    for version in ("2", "1"):
        client.set_registered_model_alias("qa", "prod", version)
        server.follower.look()
    assert server.follower.refused is None and server.tried == ["2"]
    assert server.noted == [("2", RuntimeError), ("1", type(None))]


def test_what_raises_more_than_an_exception_is_refused_too(server, client):
    def exits(version: str) -> None:
        raise SystemExit(3)

    client.set_registered_model_alias("qa", "prod", "2")
    follower = Follower(QA, lambda: "1", exits, lambda *_: None, EVERY)
    follower.look()
    assert follower.refused.reason == "SystemExit: 3"


def test_an_alias_that_is_gone_leaves_what_is_served_and_is_told_of_once(server, client, caplog):
    client.delete_registered_model_alias("qa", "prod")
    server.follower.look()
    server.follower.look()
    assert server.version == "1" and server.follower.unseen and server.tried == []
    (told,) = warnings_in(caplog)
    assert told.startswith("The registry does not tell where qa@prod is") and "What is served goes on" in told


def test_a_registry_that_is_down_leaves_what_is_served_until_it_is_back(server, client, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    here = mlflow.get_tracking_uri()
    client.set_registered_model_alias("qa", "prod", "2")
    mlflow.set_registry_uri("http://127.0.0.1:9")
    try:
        server.follower.look()
        assert server.version == "1" and server.follower.unseen
    finally:
        mlflow.set_registry_uri(here)
    server.follower.look()
    assert server.version == "2" and server.follower.unseen is None
    assert "The registry tells again where qa@prod is." in warnings_in(caplog)


def test_the_follower_of_a_model_is_found_by_its_name(server):
    following = Following([server.follower], EVERY)
    assert following.of("qa") is server.follower and following.of("other") is None


@pytest.mark.parametrize("every", [0.0, EVERY])
def test_nobody_looks_where_no_time_is_given_or_nobody_follows(server, every):
    following = Following([] if every else [server.follower], every)
    following.start()
    assert not watchers()
    following.stop()


def test_a_thread_of_its_own_looks_until_it_is_stopped(server, client):
    came = threading.Event()
    follower = Follower(QA, lambda: "1", lambda version: came.set(), lambda *_: None, 0.01)
    client.set_registered_model_alias("qa", "prod", "2")
    following = Following([follower], 0.01)
    following.start()
    assert came.wait(60)
    following.stop()
    for thread in watchers():
        thread.join(60)
    assert not watchers()

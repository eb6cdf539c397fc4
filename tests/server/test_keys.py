"""Who may call."""

import hashlib
import os

import pytest

from mlflow_dspy_plugin.server import keys as keys_module
from mlflow_dspy_plugin.server.keys import Keys
from mlflow_dspy_plugin.server.settings import ServerSettings
from tests.server.running import running

OLD, NEW = "sk-canary-old-0123456789", "sk-canary-new-0123456789"
ASK = {"inputs": {"question": "What bear?"}}


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A file of keys, which is looked at each time."""
    monkeypatch.setattr(keys_module, "_LOOK_EVERY", 0.0)
    path = tmp_path / "keys"
    path.write_text(f"# of the zoo\n{OLD}\n\n")
    return path


def bearer(key: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"Authorization": f"{scheme} {key}"}


def rewrite(path, text: str) -> None:
    """As who changes secrets does: a file of its own takes the place of the old one."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def test_a_key_is_told_by_a_label_that_is_none_of_it():
    label = Keys(ServerSettings({"qa": "/x"}, keys=(OLD, NEW))).label_of(NEW.encode())
    assert label == hashlib.sha256(NEW.encode()).hexdigest()[:8]


def test_each_of_several_keys_may_call_and_no_other(qa):
    with running(qa, keys=(OLD, NEW)) as server:
        statuses = {
            told: server.ask(ASK, headers=headers).status_code
            for told, headers in {
                "old": bearer(OLD),
                "new": bearer(NEW, "bearer"),
                "none": {},
                "wrong": bearer("sk-wrong"),
                "half": bearer(OLD[:-1]),
                "empty": {"Authorization": "Bearer"},
                "basic": bearer(OLD, "Basic"),
                "bytes": {"Authorization": b"Bearer \xff\xfe"},
            }.items()
        }
    assert statuses == {"old": 200, "new": 200} | dict.fromkeys(
        ["none", "wrong", "half", "empty", "basic", "bytes"], 401
    )


def test_without_a_key_all_is_closed_but_what_tells_that_the_server_lives(qa):
    with running(qa, keys=(OLD,)) as server:
        paths = ["/ping", "/health", "/version", "/v1/models", "/docs", "/openapi.json", "/nothing", "/ping/"]
        statuses = {path: server.client.get(path).status_code for path in paths}
    assert statuses == {"/ping": 200, "/health": 200} | dict.fromkeys(paths[2:], 401)


def test_a_refusal_is_told_in_the_form_of_the_protocol_and_repeats_no_key(qa):
    with running(qa, keys=(OLD,)) as server:
        of_mlflow = server.ask(ASK, headers=bearer(NEW))
        of_openai = server.ask(ASK, "/v1/chat/completions", headers=bearer(NEW))
    assert of_mlflow.json()["error_code"] == "UNAUTHENTICATED"
    assert of_openai.json()["error"] == {
        "message": "That key is none of this server's. Send the header Authorization: Bearer <key>.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
    assert of_mlflow.headers["www-authenticate"] == "Bearer"
    assert not any(key in response.text for key in (OLD, NEW) for response in (of_mlflow, of_openai))


def test_keys_are_exchanged_in_their_file_while_the_server_runs(qa, listed):
    with running(qa, keys_file=str(listed)) as server:

        def statuses() -> list[int]:
            return [server.client.get("/version", headers=bearer(key)).status_code for key in (OLD, NEW)]

        assert statuses() == [200, 401]
        rewrite(listed, f"{OLD}\n{NEW}\n")
        assert statuses() == [200, 200]
        rewrite(listed, f"{NEW}\n")
        assert statuses() == [401, 200]
        rewrite(listed, "")
        assert statuses() == [401, 401]


def test_keys_stay_as_they_were_while_their_file_cannot_be_read(listed, caplog):
    keys = Keys(ServerSettings({"qa": "/x"}, keys_file=str(listed)))
    listed.unlink()
    assert [keys.label_of(OLD.encode()) is not None for _ in range(2)] == [True, True]
    assert [record.message for record in caplog.records] == [
        "The file of keys cannot be read (FileNotFoundError); the keys stay as they were."
    ]
    listed.write_text(NEW)
    assert (keys.label_of(OLD.encode()), keys.label_of(NEW.encode()) is None) == (None, False)


def test_a_comment_in_the_file_is_no_key(listed):
    keys = Keys(ServerSettings({"qa": "/x"}, keys_file=str(listed)))
    assert [keys.label_of(line) for line in (b"# of the zoo", b"of the zoo", b"")] == [None, None, None]

"""What a server is told, from wherever."""

import dataclasses

import pytest

from mlflow_dspy_plugin.errors import SettingError
from mlflow_dspy_plugin.server.settings import KINDS, ServerSettings, from_config, from_environment

QA = {"qa": "models:/qa@prod"}
# A value of each setting, as a text, and what is read of it; and a text that means nothing.
TEXTS = {
    "host": ("0.0.0.0", "0.0.0.0", ""),
    "port": ("8080", 8080, "65536"),
    "concurrency": ("2", 2, "0"),
    "queue": ("0", 0, "-1"),
    "body_bytes": ("1024", 1024, "1kB"),
    "timeout": ("0.5", 0.5, "0"),
    "drain": ("0", 0.0, "nan"),
    "reload": ("1e1", 10.0, "inf"),
    "open_to_all": ("true", True, "maybe"),
    "tracing": ("0", False, "2"),
    "warm_up": ("No", False, "-"),
    "access_log": ("yes", True, "on?"),
}


def test_each_field_has_its_row_in_the_table():
    fields = {each.name for each in dataclasses.fields(ServerSettings)} - {"models", "keys"}
    assert fields == set(KINDS) == {*TEXTS, "keys_file"}


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_is_given_as_an_option_or_in_the_environment_and_the_option_wins(name, monkeypatch):
    text, value, _ = TEXTS[name]
    assert getattr(from_config("qa", "/x", {name: text}), name) == value
    monkeypatch.setenv(f"MLFLOW_DSPY_SERVER_{name.upper()}", text)
    monkeypatch.setenv("MODEL_URI", "/x")
    assert getattr(from_environment(), name) == value
    default = getattr(ServerSettings(QA), name)
    assert getattr(from_config("qa", "/x", {name: str(default)}), name) == default


@pytest.mark.parametrize("name", TEXTS)
def test_a_value_that_means_nothing_is_refused_with_its_origin(name, monkeypatch):
    *_, ill = TEXTS[name]
    with pytest.raises(SettingError, match=f"-C {name} is {ill!r}".replace("?", r"\?")):
        from_config("qa", "/x", {name: ill})
    if ill:
        monkeypatch.setenv(f"MLFLOW_DSPY_SERVER_{name.upper()}", ill)
        with pytest.raises(SettingError, match=f"MLFLOW_DSPY_SERVER_{name.upper()} is .*Give"):
            from_config("qa", "/x")


def test_a_value_of_another_type_is_refused_in_python_too():
    with pytest.raises(SettingError, match="concurrency is True. Give a whole number"):
        ServerSettings(QA, concurrency=True)


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(SettingError, match="ports: no such setting of the server. It has host, port"):
        from_config("qa", "/x", {"ports": "1"})


def test_keys_are_not_given_where_others_see_them():
    with pytest.raises(SettingError, match="Set MLFLOW_DSPY_API_KEYS, or give a file") as raised:
        from_config("qa", "/x", {"keys": "sk-canary"})
    assert "sk-canary" not in str(raised.value)


def test_keys_come_from_the_environment_and_are_not_shown(monkeypatch, tmp_path):
    listed = tmp_path / "keys"
    listed.write_text("sk-canary-2\n")
    monkeypatch.setenv("MLFLOW_DSPY_API_KEYS", " sk-canary-0, sk-canary-1,")
    monkeypatch.setenv("MLFLOW_DSPY_API_KEYS_FILE", str(listed))
    settings = from_config("qa", "/x")
    assert (settings.keys, settings.keys_file) == (("sk-canary-0", "sk-canary-1"), str(listed))
    assert "sk-canary" not in repr(settings)
    assert settings.asks_for_keys


def test_a_file_of_keys_that_is_not_there_is_refused():
    with pytest.raises(SettingError, match="keys_file is '/no/such', which is no file"):
        from_config("qa", "/x", {"keys_file": "/no/such"})


def test_mlflow_s_own_timeout_is_the_default(monkeypatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "7")
    assert from_config("qa", "/x").timeout == 7.0
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "soon")
    with pytest.raises(SettingError, match="MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.*Set it to a number of seconds"):
        from_config("qa", "/x")


@pytest.mark.parametrize(
    ("told", "models"),
    [
        ("qa=models:/bears@prod, other=/models/x=y ,", {"qa": "models:/bears@prod", "other": "/models/x=y"}),
        ("models:/bears@prod", {"bears": "models:/bears@prod"}),
        ("models:/bears/3,runs:/0123/zoo,/models/last/", {"bears": "models:/bears/3", "zoo": "runs:/0123/zoo", "last": "/models/last/"}),
    ],
)  # fmt: skip
def test_the_environment_names_models(told, models, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_SERVER_MODELS", told)
    assert from_environment().models == models


def test_the_environment_names_one_model(monkeypatch):
    monkeypatch.setenv("MODEL_URI", "models:/m-0123")
    assert from_environment().models == {"m-0123": "models:/m-0123"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("", "There is no model to serve. Set MLFLOW_DSPY_SERVER_MODELS=name=uri"),
        ("qa=", "says no URI"),
        ("models:/qa@prod,models:/qa@beta", "has qa twice. Give each a name of its own"),
        ("=models:/qa/1", "The model's name is ''"),
        ("a b=models:/qa/1", "The model's name is 'a b'"),
        (":/", "The model's URI is ':/'"),
    ],
)
def test_models_that_cannot_be_served_are_refused(told, words, monkeypatch):
    monkeypatch.setenv("MLFLOW_DSPY_SERVER_MODELS", told)
    with pytest.raises(SettingError, match=words):
        from_environment()


def test_a_server_without_a_model_is_refused():
    with pytest.raises(SettingError, match="no model. Name at least one"):
        ServerSettings({})

"""A server that other machines can reach asks for keys, or was told not to."""

import pytest

from mlflow_dspy_plugin.errors import SettingError
from mlflow_dspy_plugin.server.app import from_environment
from mlflow_dspy_plugin.server.reach import check_reach, is_loopback
from mlflow_dspy_plugin.server.settings import ServerSettings

MODELS = {"qa": "models:/qa/1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1"])
def test_loopback_needs_no_keys(host):
    assert is_loopback(host)
    check_reach(ServerSettings(MODELS, host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "no-such-host.invalid", ""])
def test_any_other_address_does(host):
    assert not is_loopback(host)


def test_without_keys_it_is_refused_with_what_to_do():
    with pytest.raises(SettingError, match=r"'0\.0\.0\.0'.*MLFLOW_DSPY_API_KEYS.*open_to_all=true"):
        check_reach(ServerSettings(MODELS, host="0.0.0.0"))


def test_with_keys_or_when_it_is_meant_it_is_not(tmp_path):
    (tmp_path / "keys").write_text("key")
    for told in ({"keys": ("key",)}, {"keys_file": str(tmp_path / "keys")}, {"open_to_all": True}):
        check_reach(ServerSettings(MODELS, host="0.0.0.0", **told))


def test_an_app_that_the_environment_says_is_open_is_refused_too(monkeypatch):
    monkeypatch.setenv("MODEL_URI", "models:/qa/1")
    monkeypatch.setenv("MLFLOW_DSPY_SERVER_HOST", "0.0.0.0")
    with pytest.raises(SettingError, match="other machines reach the server"):
        from_environment()

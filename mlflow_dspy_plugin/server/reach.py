"""From where a server can be reached, and that it is not from other machines unless it asks for keys."""

import ipaddress
import socket

from starlette.types import Scope

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import SettingError
from mlflow_dspy_plugin.server.settings import ServerSettings


def check_reach(settings: ServerSettings) -> None:
    """Refuse an address that other machines can reach, where no key is asked for.

    Raises:
        SettingError: Unless the settings say that this is meant.
    """
    if settings.asks_for_keys or settings.open_to_all or is_loopback(settings.host):
        return
    raise SettingError(
        f"At the address {settings.host!r} other machines reach the server, and it asks for no key. Set "
        f"{names.ENV_API_KEYS} (or {names.ENV_API_KEYS_FILE}), listen at 127.0.0.1, or say that everybody may call: "
        f"-C open_to_all=true, or {names.ENV_SERVER}OPEN_TO_ALL=true."
    )


def comes_from_afar(scope: Scope) -> bool:
    """Whether a connection has come in at an address that other machines reach, whoever listens there for the app."""
    address = (scope.get("server") or ("",))[0]
    try:
        return not ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        # A socket of Unix, or no socket at all.
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address, or all that a name stands for."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)

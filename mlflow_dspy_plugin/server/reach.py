"""From where a server can be reached, and that it is not from other machines unless it asks for keys."""

import functools
import ipaddress
import socket
from urllib.parse import urlsplit

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


def comes_from_afar(scope: Scope, host: str) -> bool:
    """Whether a request is from elsewhere than this machine, whoever listens for the app.

    Args:
        scope: Of the request; has the address that its connection came in at.
        host: The header of that name. A page that a browser shows can have its own name stand for this machine.
    """
    return not (_stands_here((scope.get("server") or ("",))[0]) and _is_named_here(host))


@functools.lru_cache(64)
def _is_named_here(host: str) -> bool:
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    return name in ("", "localhost") or _is_loopback_address(name) is True


@functools.lru_cache(64)
def _stands_here(address: str) -> bool:
    # A socket of Unix has no address.
    return _is_loopback_address(address) is not False


def _is_loopback_address(told: str) -> bool | None:
    """Whether it is one; None where it is no address."""
    try:
        return ipaddress.ip_address(told.partition("%")[0]).is_loopback
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address, or all that a name stands for."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)

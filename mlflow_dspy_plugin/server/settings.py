"""What a server is told: arguments of its own before `-C` options before the environment before defaults."""

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT

from mlflow_dspy_plugin import names
from mlflow_dspy_plugin.errors import SettingError

# What a server that takes its models from the environment is told of one, or of several by name.
_MODEL_URI, _MODELS = "MODEL_URI", f"{names.ENV_SERVER}MODELS"
_NAME = re.compile(r"[^\s/=,]+")


def _timeout_of_mlflow() -> float:
    try:
        return float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())
    except ValueError as error:
        raise SettingError(f"{error}. Set it to a number of seconds, or unset it.") from None


@dataclass(frozen=True)
class ServerSettings:
    """How a server serves. Each field but `models` and `keys` is a row of `KINDS`.

    Attributes:
        models: The URIs of the models by the names they are served under; the first is asked where no name is given.
        host: The address to listen at.
        port: The port; 0 takes a free one.
        concurrency: How many requests are answered at a time.
        queue: How many more wait for their turn; whoever comes then is told to come back (503).
        body_bytes: The longest body of a request (413).
        timeout: Seconds to receive a request (408), until its answer begins (504), and between the parts of a stream.
        drain: Seconds that requests under way have left once the server is told to end.
        reload: Seconds between looks at the alias of a registered model; 0 never looks.
        keys: Those that may call; everybody may where there are none and no file of them.
        keys_file: Has more of them, one a line; it is read again when it has changed.
        open_to_all: Whether a server without keys may listen at another address than loopback.
        tracing: Whether requests are traced.
        warm_up: Whether a model that replaces another one is asked its input example first.
        access_log: Whether each request is logged.

    Raises:
        SettingError: If a value means nothing.
    """

    models: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = 5001
    concurrency: int = 256
    queue: int = 1024
    body_bytes: int = 16 * 1024 * 1024
    timeout: float = field(default_factory=_timeout_of_mlflow)
    drain: float = 30.0
    reload: float = 10.0
    keys: tuple[str, ...] = field(default=(), repr=False)
    keys_file: str = ""
    open_to_all: bool = False
    tracing: bool = True
    warm_up: bool = True
    access_log: bool = True

    def __post_init__(self) -> None:
        if not self.models:
            raise SettingError("The server was given no model. Name at least one.")
        for name in self.models:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise SettingError(f"The model's name is {name!r}. Give one without blanks, '/', '=' and ','.")
        for name, kind in KINDS.items():
            if not kind.fits(value := getattr(self, name)):
                raise SettingError(f"{name} is {value!r:.100}. Give {kind.what}.")
        if self.keys_file and not Path(self.keys_file).is_file():
            raise SettingError(f"keys_file is {self.keys_file!r}, which is no file. Give one that has a key a line.")

    @property
    def asks_for_keys(self) -> bool:
        """Whether only those may call that have a key."""
        return bool(self.keys or self.keys_file)


def from_config(name: str, model_uri: str, config: Mapping[str, Any] | None = None) -> ServerSettings:
    """The settings of a server of one model.

    Args:
        name: What the model is served as.
        model_uri: Where it is.
        config: Fields by their names, as `-C name=value` gives them: as texts.

    Raises:
        SettingError: If a name is none of a setting, or a value means nothing.
    """
    config = dict(config or {})
    if "keys" in config:
        raise SettingError(
            f"-C keys would show the keys to whoever lists processes. Set {names.ENV_API_KEYS}, or give a file: "
            "-C keys_file=..."
        )
    if unknown := sorted(set(config) - set(KINDS)):
        raise SettingError(f"{', '.join(unknown)}: no such setting of the server. It has {', '.join(KINDS)}.")
    told = {name: KINDS[name].of(f"-C {name}", value) for name, value in config.items()}
    return _settings({name: model_uri}, told)


def from_environment() -> ServerSettings:
    """The settings of a server that is told all by the environment.

    Its models are in MLFLOW_DSPY_SERVER_MODELS (`qa=models:/qa@prod,other=/models/other`), or the one in MODEL_URI.

    Raises:
        SettingError: If there is no model, or a value means nothing.
    """
    if listed := os.environ.get(_MODELS, "").strip():
        return _settings(_each_once([_named(each) for each in listed.split(",") if each.strip()]), {})
    if uri := os.environ.get(_MODEL_URI, "").strip():
        return _settings({_name_of(uri): uri}, {})
    raise SettingError(f"There is no model to serve. Set {_MODELS}=name=uri,... or {_MODEL_URI}=uri.")


def _settings(models: Mapping[str, str], told: Mapping[str, Any]) -> ServerSettings:
    variables = {name: f"{names.ENV_SERVER}{name.upper()}" for name in KINDS} | {"keys_file": names.ENV_API_KEYS_FILE}
    set_ones = {name: (variable, os.environ.get(variable, "").strip()) for name, variable in variables.items()}
    of_environment = {name: KINDS[name].of(variable, text) for name, (variable, text) in set_ones.items() if text}
    keys = [key.strip() for key in os.environ.get(names.ENV_API_KEYS, "").split(",")]
    return ServerSettings(models, keys=tuple(filter(None, keys)), **{**of_environment, **told})


def _named(given: str) -> tuple[str, str]:
    name, is_named, uri = given.strip().partition("=")
    if is_named and not uri:
        raise SettingError(f"{_MODELS} has {given!r}, which says no URI. Set it to name=uri,name=uri.")
    return (name, uri) if is_named else (_name_of(name), name)


def _each_once(named: list[tuple[str, str]]) -> dict[str, str]:
    models = dict(named)
    if len(models) < len(named):
        twice = sorted({name for name, _ in named if [each for each, _ in named].count(name) > 1})
        raise SettingError(f"{_MODELS} has {', '.join(twice)} twice. Give each a name of its own: name=uri,name=uri.")
    return models


def _name_of(uri: str) -> str:
    """What a model is served as where nobody says: its name in the registry, else the last part of its URI."""
    scheme, _, path = uri.rpartition(":/")
    parts = [part for part in path.split("/") if part]
    if not parts:
        raise SettingError(f"The model's URI is {uri!r}. Give models:/<name>/<version or @alias>, or a folder.")
    return parts[0].partition("@")[0] if scheme == "models" else parts[-1]


# -- what each setting can be -----------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """What a setting can be, in words, how a text is read, and as a check."""

    what: str
    read: Callable[[str], Any]
    fits: Callable[[Any], bool]

    def of(self, origin: str, told: Any) -> Any:
        """A value that was told, perhaps as a text."""
        try:
            value = self.read(told.strip()) if isinstance(told, str) else told
        except (ValueError, KeyError):
            value = None
        if value is None or not self.fits(value):
            raise SettingError(f"{origin} is {told!r:.100}. Give {self.what}.")
        return value


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _is_count(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_seconds(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


_TEXT = _Kind("a text", str, lambda value: isinstance(value, str))
_FLAG = _Kind("true or false", _flag, lambda value: isinstance(value, bool))
_COUNT = _Kind("a whole number from 1 on", int, lambda value: _is_count(value, 1))
_SECONDS = _Kind("a number of seconds from 0 on", float, _is_seconds)

# A field of the settings -> what it can be. It is given as `-C <field>=`, or as MLFLOW_DSPY_SERVER_<FIELD>.
KINDS: Mapping[str, _Kind] = {
    "host": _Kind("an address to listen at", str, lambda value: isinstance(value, str) and bool(value)),
    "port": _Kind("a whole number from 0 to 65535", int, lambda value: _is_count(value, 0, 65535)),
    "concurrency": _COUNT,
    "queue": _Kind("a whole number from 0 on", int, lambda value: _is_count(value, 0)),
    "body_bytes": _COUNT,
    "timeout": _Kind("a number of seconds above 0", float, lambda value: _is_seconds(value) and value > 0),
    "drain": _SECONDS,
    "reload": _SECONDS,
    "keys_file": _TEXT,
    "open_to_all": _FLAG,
    "tracing": _FLAG,
    "warm_up": _FLAG,
    "access_log": _FLAG,
}

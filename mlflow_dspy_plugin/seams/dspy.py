"""DSPy's names that are private or differ between releases."""

import copy
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from mlflow_dspy_plugin.errors import DspyNotInstalledError

try:
    import dspy
except ModuleNotFoundError as error:
    if error.name != "dspy":
        raise
    raise DspyNotInstalledError() from None

from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback

from mlflow_dspy_plugin.seams.patch import patch

# `from dspy.dsp.utils import settings` is the settings object; the module has the same name.
_settings = importlib.import_module("dspy.dsp.utils.settings")

# Settings that belong to the running process, not to the program.
_RUNTIME_SETTINGS = {
    "branch_idx",
    "caller_modules",
    "caller_predict",
    "callbacks",
    "send_stream",
    "stream_listeners",
    "trace",
    "usage_tracker",
}


# -- settings ---------------------------------------------------------------------------------


def current_settings() -> dict[str, Any]:
    """The settings that a program needs to run elsewhere: the adapter, and all that differ from DSPy's defaults.

    No adapter is a choice too, which another one in the process where the program runs would change.
    """
    defaults = _settings.DEFAULT_CONFIG
    return {
        key: value
        for key, value in dspy.settings.config.items()
        if key not in _RUNTIME_SETTINGS
        and not key.startswith("_")
        and (key == "adapter" or key not in defaults or value is not defaults[key] and value != defaults[key])
    }


# What `fill_settings` has set, and nobody has changed since.
_filled: dict[str, Any] = {}


def fill_settings(settings: Mapping[str, Any], configure: bool | Literal["if-unset"] = "if-unset") -> None:
    """Set settings from any thread; `dspy.configure` refuses every thread but its first, whose lock is used here.

    Args:
        settings: The settings.
        configure: "if-unset" sets those that nobody has set, or only an earlier call of this; True
            sets them all, over what the user has set; False none.
    """
    if configure is False:
        return
    with _settings.global_lock:
        config, defaults = _settings.main_thread_config, _settings.DEFAULT_CONFIG
        for key in {*settings, *_filled}:
            filled = _filled.pop(key, _settings)
            mine = config.get(key) is filled or config.get(key) == defaults.get(key)
            if not mine and not (configure is True and key in settings):
                continue
            config[key] = settings.get(key, copy.copy(defaults.get(key)))
            if key in settings:
                _filled[key] = settings[key]


# -- callbacks --------------------------------------------------------------------------------


class Watcher(BaseCallback):
    """A callback of this package; what has been uninstalled ends what it has begun, and no more.

    Attributes:
        installed: Whether it may begin anything.
    """

    installed = True

    def listens(self) -> bool:
        """Whether it wants to be told of calls that begin now; asked before each."""
        return True


class _Together(Watcher):
    """Several watchers as one callback.

    DSPy looks for the handler of each callback anew, at both ends of each call, and takes longer than they do.
    """

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        handlers: dict[str, list[Callable]] = {}
        for watcher in watchers:
            for name in dir(type(watcher)):
                if name.startswith("on_") and getattr(type(watcher), name) is not getattr(BaseCallback, name, None):
                    handlers.setdefault(name, []).append(getattr(watcher, name))
        vars(self).update({name: _one_after_another(each) for name, each in handlers.items()})


def _one_after_another(handlers: list[Callable]) -> Callable:
    def handle(**event: Any) -> None:
        for handler in handlers:
            handler(**event)

    return handle if len(handlers) > 1 else handlers[0]


def install_callbacks(callbacks: Iterable[Watcher]) -> Callable[[], None]:
    """Have DSPy call these callbacks beside the user's, whatever is configured later.

    DSPy asks `settings.get("callbacks")` at every call. Answering there leaves the user's settings
    as they are: there is nothing that `dspy.configure(callbacks=...)` could overwrite. Others ask
    too, and may configure what they were told: such a copy is not called a second time.

    Returns:
        What undoes it.
    """
    installed = list(callbacks)
    together: dict[tuple[Watcher, ...], Watcher] = {}

    def as_one(watchers: tuple[Watcher, ...]) -> Watcher:
        if watchers not in together:
            together[watchers] = watchers[0] if len(watchers) == 1 else _Together(watchers)
        return together[watchers]

    def make(original):
        def get(self, key, default=None):
            value = original(self, key, default)
            if key != "callbacks":
                return value
            others = [each for each in value if not isinstance(each, Watcher)] if value else []
            listening = tuple([watcher for watcher in installed if watcher.listens()])
            return [*others, as_one(listening)] if listening else others

        return get

    undo = patch(_settings.Settings, "get", make)

    def uninstall() -> None:
        for callback in installed:
            callback.installed = False
        installed.clear()
        undo()

    return uninstall


def active_call_id() -> str | None:
    """The call that the current code runs in: inside an `on_*_start` handler, the parent call."""
    return ACTIVE_CALL_ID.get()


def interruption() -> BaseException | None:
    """The KeyboardInterrupt or cancellation that is passing through, or being handled.

    dspy 3.0 to 3.3 tell end handlers of an Exception only; they are called while it passes.
    """
    error = sys.exc_info()[1]
    return None if isinstance(error, Exception) else error


# -- language models --------------------------------------------------------------------------


def reads_keys_by_itself(lm: "dspy.BaseLM") -> bool:
    """Whether DSPy sends its requests to the provider that its model's name begins with, with its key.

    A class or an engine (dspy >= 3.4) of the user's has a connection of its own.
    """
    return isinstance(lm, dspy.LM) and isinstance(getattr(lm, "_engine_spec", "auto"), str)


def backend_of(client: Any) -> str | None:
    """The package, if any, by which an object of DSPy asks a provider, and that DSPy imports only then.

    dspy >= 3.4 asks some providers by itself, but which requests it leaves to LiteLLM depends on the
    request and on the environment; `engine="lm15"`, or an engine of the user's, never does.
    """
    if isinstance(client, dspy.LM):
        engine = getattr(client, "_engine_spec", "litellm")
        return "litellm" if isinstance(engine, str) and engine != "lm15" else None
    if isinstance(client, dspy.Embedder):
        return "litellm" if isinstance(client.model, str) else None
    typesafe = getattr(sys.modules.get("dspy.clients.typesafe"), "TypeSafe", ())
    return "typesafe_sdk" if isinstance(client, typesafe) else None

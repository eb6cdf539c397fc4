"""DSPy's names that are private or differ between releases."""

import copy
import functools
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlflow_dspy_plugin.errors import DspyNotInstalledError

try:
    import dspy
except ModuleNotFoundError as error:
    if error.name != "dspy":
        raise
    raise DspyNotInstalledError() from None

from dspy.utils import parallelizer as _parallelizer
from dspy.utils.callback import ACTIVE_CALL_ID, BaseCallback

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
# DSPy copies its context overrides into the worker threads it starts, so what must reach those
# threads travels under a key of ours.
_INHERITED_KEY = "_mlflow_dspy_plugin"
# dspy >= 3.4 carries the parent call into worker threads by itself.
_EXECUTOR_CARRIES_PARENT = hasattr(_parallelizer, "_bind_active_call_id")


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


def install_callbacks(callbacks: Iterable[Watcher]) -> Callable[[], None]:
    """Have DSPy call these callbacks beside the user's, whatever is configured later.

    DSPy asks `settings.get("callbacks")` at every call. Answering there leaves the user's settings
    as they are: there is nothing that `dspy.configure(callbacks=...)` could overwrite. Others ask
    too, and may configure what they were told: such a copy is not called a second time.

    Returns:
        What undoes it.
    """
    installed = list(callbacks)

    def make(original):
        def get(self, key, default=None):
            value = original(self, key, default)
            if key != "callbacks":
                return value
            return [each for each in value or () if not isinstance(each, Watcher)] + installed

        return get

    undo = patch(_settings.Settings, "get", make)

    def uninstall() -> None:
        for callback in installed:
            callback.installed = False
        installed.clear()
        undo()

    return uninstall


def patch(owner: Any, name: str, make: Callable[[Callable], Callable]) -> Callable[[], None]:
    """Replace `owner.name` by what `make` builds around it; returns the undo.

    Where somebody else has replaced it since, the undo leaves both in place.
    """
    original = getattr(owner, name)
    replacement = functools.wraps(original)(make(original))
    setattr(owner, name, replacement)

    def undo() -> None:
        if getattr(owner, name) is replacement:
            setattr(owner, name, original)

    return undo


def active_call_id() -> str | None:
    """The call that the current code runs in: inside an `on_*_start` handler, the parent call."""
    return ACTIVE_CALL_ID.get()


def inherited(name: str) -> Any:
    """A value that was handed down to this code, through DSPy's worker threads too."""
    return next((h.values[name] for h in reversed(_handed()) if name in h.values), None)


@dataclass(frozen=True, eq=False)
class HandedDown:
    """What one `hand_down` has set."""

    values: Mapping[str, Any]


def hand_down(**values: Any) -> HandedDown:
    """Set values that the code called from here inherits; `take_back` ends it."""
    handed = HandedDown(values)
    _hand((*_handed(), handed))
    return handed


def take_back(handed: HandedDown) -> None:
    """Undo one `hand_down`, in whatever order several end.

    A cancelled or abandoned call may end in another context, where there is nothing to undo.
    """
    before = _handed()
    if handed in before:
        _hand(tuple(other for other in before if other is not handed))


def _handed() -> tuple[HandedDown, ...]:
    return _settings.thread_local_overrides.get().get(_INHERITED_KEY, ())


def _hand(all_handed: tuple[HandedDown, ...]) -> None:
    overrides = _settings.thread_local_overrides.get()
    # A copy: other contexts, and DSPy's default for all of them, share the object.
    changed = type(overrides)(overrides)
    changed[_INHERITED_KEY] = all_handed
    if not all_handed:
        del changed[_INHERITED_KEY]
    _settings.thread_local_overrides.set(changed)


def hand_down_parent(call_id: str) -> HandedDown | None:
    """On releases whose executor does not carry the parent call into its threads, do so."""
    return None if _EXECUTOR_CARRIES_PARENT else hand_down(call_id=call_id)


def inherited_call_id() -> str | None:
    """The parent call, as `hand_down_parent` left it."""
    return None if _EXECUTOR_CARRIES_PARENT else inherited("call_id")


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

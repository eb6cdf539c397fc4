"""Values that are known to be secret because they stood under a secret name, wherever a text repeats them."""

import functools
import itertools
import os
import re
from collections.abc import Iterable
from typing import Any

from mlflow_dspy_plugin.redaction import (
    REDACTED,
    environment_secrets,
    is_distinctive,
    is_placeholder,
    is_secret_name,
    quoted_forms,
)

_MOST = 500
_LONGEST = 20_000


class EnvironmentSecrets:
    """The secrets of the environment; read again only when variables come or go, or one of them changes."""

    def __init__(self) -> None:
        self._size = -1
        self._read: dict[str, str] = {}
        self._secrets = KnownSecrets()

    def current(self) -> "KnownSecrets":
        """The secrets as of now."""
        size = len(os.environ)
        if size != self._size or any(os.environ.get(name) != value for name, value in self._read.items()):
            secrets, read = KnownSecrets(), environment_secrets()
            secrets.learn(read.values())
            self._secrets, self._read, self._size = secrets, read, size
        return self._secrets


class KnownSecrets:
    """Secrets, and the texts that hold them. Threads may share it.

    Args:
        others: Secrets that are known too.
    """

    __slots__ = ("_cores", "_form", "_secrets")

    def __init__(self, others: "KnownSecrets | None" = None):
        self._secrets: frozenset[str] = others._secrets if others else frozenset()
        # A part of each that is the same however it is quoted.
        self._cores: tuple[str, ...] = others._cores if others else ()
        # Finds all of them; None until it is needed.
        self._form: re.Pattern | None = others._form if others else None

    def learn(self, values: Iterable[Any]) -> None:
        """Take every text in the values for a secret, if it cannot stand in other texts by chance."""
        found = {part for text in _texts(values) for part in _parts(text)} - self._secrets
        if found and len(self._secrets) < _MOST:
            # Replaced as a whole, for others may be reading.
            self._secrets = self._secrets | found
            self._cores = (*self._cores, *map(_core, found))
            self._form = None

    def may_stand_in(self, text: str) -> bool:
        """Whether the text may hold one; quick, and never wrong where it says no."""
        for core in self._cores:  # noqa: SIM110 - `any` takes twice as long
            if core in text:
                return True
        return False

    def redact(self, text: str) -> str:
        """The text without them."""
        if not self.may_stand_in(text):
            return text
        form = self._form
        if form is None:
            form = self._form = _form_of(self._secrets)
        return form.sub(REDACTED, text)


# Where clients of DSPy's keep what they send beside the input.
_SENT = ("kwargs", "default_kwargs")


def keys_of(client: Any) -> dict[str, Any]:
    """What a language model, embedder or retriever may send to log in: settings, and attributes with secret names."""
    held = getattr(client, "__dict__", {})
    sent = [held[name] for name in _SENT if type(held.get(name)) is dict]
    named = {name: value for name, value in held.items() if is_secret_name(name) and type(value) is str}
    return {**named, **{name: value for values in sent for name, value in values.items()}}


def _form_of(secrets: Iterable[str]) -> re.Pattern:
    forms = {form for secret in secrets for form in quoted_forms(secret)}
    return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def _texts(values: Iterable[Any]) -> Iterable[str]:
    """The texts in plain values, and in lists and mappings of them."""
    for value in itertools.islice(values, _MOST):
        if type(value) is str:
            yield value
        elif type(value) in (list, tuple):
            yield from _texts(value)
        elif type(value) is dict:
            yield from _texts(list(value.values()))


@functools.lru_cache(maxsize=256)
def _parts(text: str) -> tuple[str, ...]:
    """A secret, and what is left of it without a scheme: `Bearer abc` is echoed as `abc`."""
    text = text.strip()
    candidates = [text, *text.split()[1:]] if len(text) < _LONGEST else []
    return tuple(each for each in candidates if is_distinctive(each) and not is_placeholder(each) and each != REDACTED)


@functools.lru_cache(maxsize=256)
def _core(secret: str) -> str:
    return max(re.findall(r"[A-Za-z0-9]+", secret), key=len, default=secret)

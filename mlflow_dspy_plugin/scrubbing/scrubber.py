"""Copies plain containers without the secrets in them, and remembers what it left out where."""

import copy as copies
import functools
from collections.abc import Callable, MutableMapping
from pathlib import PurePath
from typing import Any

import numpy as np

from mlflow_dspy_plugin.redaction import (
    environment_secrets,
    environment_variable_of,
    is_distinctive,
    is_plain_header,
    is_secret_name,
    is_text,
    names_headers,
    redact_bytes,
    redact_text,
)

_CONTAINERS = (dict, list, tuple, set, frozenset)


class Scrubber:
    """Leaves secrets out of texts and plain containers.

    Attributes:
        left_out: The places, such as "LM.kwargs.api_key", with the environment variable that holds the
            same value, if one does.
        secrets: The values that were left out by name and can be told from other texts, with
            their places.
        kept: The variables of the environment whose secret values stand in texts that were not left
            out, with the place of one of these.
    """

    def __init__(self) -> None:
        self.left_out: dict[str, str | None] = {}
        self.secrets: dict[str, str] = {}
        self.kept: dict[str, str] = {}
        # Two objects that share a dict must share its copy too. Here and below the originals are
        # kept alive, so that no other object gets the id of one.
        self._copies: dict[tuple[int, bool, bool], tuple[Any, Any]] = {}
        self._met: dict[int, tuple[Any, str, bool, bool]] = {}

    def scrub(self, value: Any, path: str, named: bool = True) -> Any:
        """The value without secrets; what is neither text nor a plain container stays as it is.

        Args:
            value: A text, or a dict, list, tuple or set at any depth.
            path: Where it hangs, for the report.
            named: Whether the names of keys tell what is secret; in data they do not.
        """
        return self._copy(value, path, named, self._text)

    def scrub_attribute(self, value: Any, name: str, path: str, named: bool = True) -> Any:
        """The same for a value that has a name; None in place of a text whose name is secret."""
        path = f"{path}.{redact_text(name)}"
        if named and is_secret_name(name):
            return self._copy(value, path, named, self._withhold)
        if named and isinstance(value, MutableMapping) and names_headers(name):
            return self.scrub(self._headers(value, path), path)
        return self.scrub(value, path, named and name != "demos")

    def known_secrets(self) -> dict[str, str]:
        """The values that were left out and must stand nowhere else, by the words that name them."""
        variables = {f"the environment variable {n} (at {p})": self._environment[n] for n, p in self.kept.items()}
        return {**{f"a secret of the program ({place})": text for text, place in self.secrets.items()}, **variables}

    def place_of(self, value: Any) -> str | None:
        """Where an object that is no plain container was met."""
        return self._met[id(value)][1] if id(value) in self._met else None

    def is_data(self, value: Any) -> bool:
        """Whether an object was met inside of data, where names do not tell what is secret."""
        return id(value) in self._met and not self._met[id(value)][2]

    def is_secret(self, value: Any) -> bool:
        """Whether an object was met under a name that is secret."""
        return id(value) in self._met and self._met[id(value)][3]

    def withhold(self, value: Any, path: str) -> Any:
        """The value without any text, as under a name that is secret."""
        return self._copy(value, path, True, self._withhold)

    def _copy(self, value: Any, path: str, named: bool, of_text: Callable[[Any, str], Any]) -> Any:
        if is_text(value):
            return of_text(value, path)
        if isinstance(value, PurePath) or isinstance(value, np.ndarray) and value.dtype.kind in "US":
            return self._text_like(value, path)
        if type(value) not in _CONTAINERS:
            withheld = of_text == self._withhold
            if withheld or id(value) not in self._met:
                self._met[id(value)] = (value, path, named, withheld)
            return value
        if type(value) is tuple:
            return tuple(self._copy(item, path, named, of_text) for item in value)
        key = (id(value), named, of_text == self._withhold)
        if key not in self._copies:
            copy: Any = set() if isinstance(value, frozenset) else type(value)()
            self._copies[key] = (value, copy)
            self._fill(copy, value, path, named, of_text)
            if isinstance(value, frozenset):
                self._copies[key] = (value, frozenset(copy))
        return self._copies[key][1]

    def _fill(self, copy: Any, value: Any, path: str, named: bool, of_text: Callable[[Any, str], Any]) -> None:
        if type(value) is list:
            copy.extend(self._copy(item, path, named, of_text) for item in value)
            return
        if type(value) is not dict:
            copy.update(self._copy(item, path, named, of_text) for item in value)
            return
        for key, item in value.items():
            if of_text == self._withhold:
                copied = self._copy(item, f"{path}.{redact_text(str(key))}", named, of_text)
            else:
                copied = self.scrub_attribute(item, str(key), path, named)
            # A key without its value would be an argument None of a language model.
            if copied is not None or item is None:
                copy[self._text(key, path) if isinstance(key, str) else key] = copied

    def _headers(self, headers: MutableMapping[Any, Any], path: str) -> MutableMapping[Any, Any]:
        """The headers that are known to hold no secret."""
        kept = dict(headers) if isinstance(headers, dict) else copies.deepcopy(headers)
        for name, value in headers.items():
            if (is_text(value) or type(value) in _CONTAINERS) and not is_plain_header(str(name)):
                self.withhold(value, f"{path}.{redact_text(str(name))}")
                del kept[name]
        return kept

    def _text_like(self, value: Any, path: str) -> Any:
        """A path, or an array of texts."""
        if isinstance(value, PurePath):
            text = self._text(str(value), path)
            return value if text == str(value) else type(value)(text)
        texts = [self._text(text, path) for text in value.ravel().tolist()]
        return value if texts == value.ravel().tolist() else np.array(texts).reshape(value.shape)

    def _text(self, text: Any, path: str) -> Any:
        redacted = redact_text(text) if isinstance(text, str) else type(text)(redact_bytes(text))
        if redacted != text:
            self.left_out.setdefault(path, self._variable_of(text))
            return redacted
        for variable in self._variables_in(text):
            self.kept.setdefault(variable, path)
        # Itself: a member of an enum may be a text, and equals its value.
        return text

    def _withhold(self, text: Any, path: str) -> None:
        self.left_out[path] = self._variable_of(text)
        if is_distinctive(_decoded(text)):
            self.secrets[_decoded(text)] = path

    def _variable_of(self, text: Any) -> str | None:
        """The environment variable that the text holds the value of, if one does."""
        return environment_variable_of(_decoded(text)) or next(iter(self._variables_in(text)), None)

    def _variables_in(self, text: Any) -> list[str]:
        return [name for name, value in self._environment.items() if value in _decoded(text)]

    @functools.cached_property
    def _environment(self) -> dict[str, str]:
        return environment_secrets()


def _decoded(text: Any) -> str:
    return text if isinstance(text, str) else text.decode(errors="ignore")

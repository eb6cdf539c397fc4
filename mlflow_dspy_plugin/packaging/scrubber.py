"""Copies plain containers without the secrets in them, and remembers what it left out where."""

from collections.abc import Callable
from typing import Any

from mlflow_dspy_plugin.redaction import (
    environment_variable_of,
    is_distinctive,
    is_plain_header,
    is_secret_name,
    is_text,
    names_headers,
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
    """

    def __init__(self) -> None:
        self.left_out: dict[str, str | None] = {}
        self.secrets: dict[str, str] = {}
        # Two objects that share a dict must share its copy too. Here and below the originals are
        # kept alive, so that no other object gets the id of one.
        self._copies: dict[tuple[int, bool], tuple[Any, Any]] = {}
        self._met: dict[int, tuple[Any, str, bool]] = {}

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
        if named and isinstance(value, dict) and names_headers(name):
            return self._headers(value, path)
        return self.scrub(value, path, named and name != "demos")

    def known_secrets(self) -> dict[str, str]:
        """The values that were left out and must stand nowhere else, by the words that name them."""
        return {f"a secret of the program ({place})": text for text, place in self.secrets.items()}

    def place_of(self, value: Any) -> str | None:
        """Where an object that is no plain container was met."""
        return self._met[id(value)][1] if id(value) in self._met else None

    def is_data(self, value: Any) -> bool:
        """Whether an object was met inside of data, where names do not tell what is secret."""
        return id(value) in self._met and not self._met[id(value)][2]

    def _copy(self, value: Any, path: str, named: bool, of_text: Callable[[Any, str], Any]) -> Any:
        if is_text(value):
            return of_text(value, path)
        if type(value) not in _CONTAINERS:
            self._met.setdefault(id(value), (value, path, named))
            return value
        if type(value) is tuple:
            return tuple(self._copy(item, path, named, of_text) for item in value)
        key = (id(value), named)
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

    def _headers(self, headers: dict[Any, Any], path: str) -> dict[Any, Any]:
        """The headers that are known to hold no secret."""
        for name, value in headers.items():
            if is_text(value) and not is_plain_header(str(name)):
                self._withhold(value, f"{path}.{redact_text(str(name))}")
        return {name: value for name, value in headers.items() if is_plain_header(str(name)) or not is_text(value)}

    def _text(self, text: Any, path: str) -> Any:
        redacted = redact_text(text) if isinstance(text, str) else text
        if redacted == text:
            # Itself: a member of an enum may be a text, and equals its value.
            return text
        self.left_out.setdefault(path, None)
        return redacted

    def _withhold(self, text: Any, path: str) -> None:
        self.left_out[path] = environment_variable_of(text) if isinstance(text, str) else None
        if isinstance(text, str) and is_distinctive(text):
            self.secrets[text] = path

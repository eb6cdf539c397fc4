"""Who may call: keys, compared in constant time, and read again from their file when it has changed."""

import hashlib
import hmac
import os
import time
from collections.abc import Iterable
from pathlib import Path

from mlflow_dspy_plugin.boundary import warn
from mlflow_dspy_plugin.server.settings import ServerSettings

# Seconds between looks at the file: requests do not each wait for a disk.
_LOOK_EVERY = 1.0
_LABEL_LENGTH = 8


class Keys:
    """The keys of a server; old and new ones hold side by side, so that they can be exchanged one by one."""

    def __init__(self, settings: ServerSettings) -> None:
        self.are_asked_for = settings.asks_for_keys
        self._given = _digests(settings.keys)
        self._path = Path(settings.keys_file) if settings.keys_file else None
        self._listed: list[bytes] = []
        self._state: tuple[int, ...] | None = None
        self._looked = -_LOOK_EVERY
        self._look()

    def label_of(self, key: bytes) -> str | None:
        """What tells a key from others in a log; None of one that may not call."""
        self._look()
        digest = hashlib.sha256(key).digest()
        # All of them, whichever fits: how long it takes tells nothing.
        fits = [hmac.compare_digest(digest, each) for each in (*self._given, *self._listed)]
        return digest.hex()[:_LABEL_LENGTH] if any(fits) else None

    def _look(self) -> None:
        """Read the file if it is another one by now; one that cannot be read leaves the keys as they are."""
        if self._path is None or (now := time.monotonic()) - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        try:
            found = os.stat(self._path)
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._state:
                lines = self._path.read_text(encoding="utf-8").splitlines()
                self._listed, self._state = _digests(line.strip() for line in lines), state
        except (OSError, UnicodeDecodeError) as error:
            if self._state != ():
                warn("The file of keys cannot be read (%s); the keys stay as they were.", type(error).__name__)
            self._state = ()


def _digests(keys: Iterable[str]) -> list[bytes]:
    """What keys are compared by: of one length, whatever theirs."""
    told = (key.encode("utf-8", "surrogateescape") for key in keys if key and not key.startswith("#"))
    return [hashlib.sha256(key).digest() for key in told]

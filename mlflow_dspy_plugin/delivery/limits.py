"""How much delivery may hold and how long it may take: defaults, and what the environment says."""

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mlflow_dspy_plugin.names import DISTRIBUTION, ENV_EXIT_TIMEOUT, ENV_SPOOL_DIR, ENV_SPOOL_MAX_MB
from mlflow_dspy_plugin.redaction import redact_text

_logger = logging.getLogger("mlflow_dspy_plugin")
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What delivery to one store may use.

    Attributes:
        waiting_traces: Traces in memory; those above it go to the spool.
        waiting_characters: The text that they may hold together.
        batch_traces: Traces that are written in one go.
        linger_seconds: How long the first trace of a batch waits for others.
        spool_bytes: The size of the spool.
        segment_bytes: The size at which a file of the spool is closed.
        work_share: The part of its time that the thread computes, as long as nobody waits for what it writes.
        exit_seconds: How long the end of the program may be delayed.
        retry_seconds: The shortest and the longest pause before a store that failed is asked again.
    """

    waiting_traces: int = 1000
    waiting_characters: int = 64 * _MEGABYTE
    batch_traces: int = 64
    linger_seconds: float = 0.2
    spool_bytes: int = 1024 * _MEGABYTE
    segment_bytes: int = 4 * _MEGABYTE
    work_share: float = 1.0
    exit_seconds: float = 10
    retry_seconds: tuple[float, float] = (1, 60)

    @classmethod
    def from_environment(cls) -> "Limits":
        """The defaults, but for what environment variables set."""
        return cls(
            spool_bytes=int(_number(ENV_SPOOL_MAX_MB, cls.spool_bytes / _MEGABYTE) * _MEGABYTE),
            exit_seconds=_number(ENV_EXIT_TIMEOUT, cls.exit_seconds),
        )


def spool_folder(tracking_uri: str) -> Path:
    """Where the spool for a store is; its name tells nothing of the URI, and stays if only a password changes."""
    local = tracking_uri.startswith("sqlite:///") and not tracking_uri.startswith("sqlite:////")
    told = redact_text(tracking_uri) + (os.getcwd() if local else "")
    return _base_folder() / hashlib.sha256(told.encode()).hexdigest()[:16]


def _base_folder() -> Path:
    if given := os.environ.get(ENV_SPOOL_DIR):
        return Path(given)
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    base = Path(caches) if caches else Path.home() / ".cache"
    if not os.access(base if base.exists() else base.parent, os.W_OK):
        base = Path(tempfile.gettempdir())
    return base / f"{DISTRIBUTION}-{os.getuid() if hasattr(os, 'getuid') else 'spool'}"


def _number(variable: str, default: float) -> float:
    value = os.environ.get(variable)
    try:
        number = float(value) if value else default
        if number >= 0:
            return number
    except ValueError:
        pass
    _logger.warning("%s is %r, which is no number from 0 on; %g is used.", variable, value, default)
    return default

"""The versions a program was saved with, and one warning where others are installed."""

import functools
import logging
import sys
from collections.abc import Mapping
from importlib import metadata

import dspy

_logger = logging.getLogger(__name__)

# The packages through which DSPy talks to language models; only their major and minor version count.
_BACKENDS = ("litellm", "lm15")


def versions_now() -> dict[str, str]:
    """The versions that decide how a program behaves, by the name of what they are of."""
    backends = {name: _minor(version) for name in _BACKENDS if (version := _installed(name))}
    return {"python": _minor(sys.version), "dspy": dspy.__version__, **backends}


def warn_of_differences(recorded: Mapping[str, str]) -> None:
    """Log one warning that names all that is not as it was when the model was saved.

    Args:
        recorded: What `versions_now` gave then. What is not in it is not compared.
    """
    now = versions_now()
    differing = [
        f"{name} {version} (here: {now.get(name, 'none')})"
        for name, version in recorded.items()
        if version != now.get(name)
    ]
    if differing:
        _logger.warning(
            "The model was saved with %s. If it behaves in another way here, install the versions in its "
            "requirements.txt.",
            ", ".join(differing),
        )


@functools.cache
def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _minor(version: str) -> str:
    return ".".join(version.split()[0].split(".")[:2])

"""What delivery tells the user: each kind of trouble once."""

import logging

from mlflow_dspy_plugin.boundary import is_silent
from mlflow_dspy_plugin.redaction import redact_text

_logger = logging.getLogger("mlflow_dspy_plugin")


class Notices:
    """The troubles of delivery to one store that have been told."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell_once(self, kind: str, message: str, *values: object, level: int = logging.WARNING) -> None:
        """Log a message, the first time there is this kind of trouble."""
        if kind not in self._told:
            self._told.add(kind)
            tell(message, *values, level=level)


def tell(message: str, *values: object, level: int = logging.WARNING) -> None:
    """Log a message, with what it quotes freed of secrets, unless the user wants none."""
    if not is_silent():
        _logger.log(level, message, *(redact_text(str(value)) for value in values))

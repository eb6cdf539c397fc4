"""When a store that failed is asked again."""

import time

from mlflow_dspy_plugin.seams.refusals import Refusal

# A store that took something this recently is not asked whether it is there.
_TRUSTED_SECONDS = 1.0


class Outage:
    """Whether the store takes traces, as far as is known; pauses between attempts double.

    Args:
        shortest: The first pause, in seconds.
        longest: The longest one.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest, self._longest = shortest, longest
        self.refusal: Refusal | None = None
        self._pause = 0.0
        self._retry_at = 0.0
        self._trusted_until = 0.0

    def begin(self, refusal: Refusal) -> None:
        """The store has failed, or has failed again."""
        self.refusal = refusal
        self._pause = min(max(2 * self._pause, self._shortest), self._longest)
        self._retry_at = time.monotonic() + self._pause
        self._trusted_until = 0.0

    def end(self) -> None:
        """The store has taken something."""
        self.refusal, self._pause, self._retry_at = None, 0.0, 0.0
        self._trusted_until = time.monotonic() + _TRUSTED_SECONDS

    def forgive(self) -> None:
        """Somebody waits: ask the store at once."""
        self.refusal, self._retry_at = None, 0.0

    @property
    def is_due(self) -> bool:
        """Whether the store may be asked now."""
        return time.monotonic() >= self._retry_at

    @property
    def seconds_left(self) -> float:
        """How long it may not."""
        return max(0.0, self._retry_at - time.monotonic())

    @property
    def is_trusted(self) -> bool:
        """Whether it has just taken something."""
        return time.monotonic() < self._trusted_until

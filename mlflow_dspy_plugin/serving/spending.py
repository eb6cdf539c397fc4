"""What the language models were asked for to answer one request."""

import contextlib
import threading
from collections.abc import Iterator, Mapping

from mlflow.tracing.constant import TokenUsageKey

from mlflow_dspy_plugin.metering import METERS
from mlflow_dspy_plugin.seams import handed_down
from mlflow_dspy_plugin.seams.lm_shapes import Answer
from mlflow_dspy_plugin.usage import CACHE_READ, REASONING


class Spent:
    """Counts the tokens of one request. Threads may share it.

    Attributes:
        was_cut: Whether the last answer ended where its tokens did.
        is_known: Whether the provider has told the tokens of each answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: dict[str, int] = {}
        self.was_cut, self.is_known = False, True

    def add(self, role: str, answer: Answer, tokens: Mapping[str, int], cost: float | None) -> None:
        """Count an answer, as `metering.Meter` does."""
        with self._lock:
            self.was_cut = any(choice.get("finish_reason") == "length" for choice in answer.choices)
            self.is_known = self.is_known and bool(tokens or answer.cache_hit)
            for name, count in tokens.items():
                self._tokens[name] = self._tokens.get(name, 0) + count

    def add_call(self, role: str, seconds: float) -> None:
        """Nothing is known of calls here but their answers."""

    @property
    def sent(self) -> int:
        """Tokens of the prompts."""
        return self._tokens.get(TokenUsageKey.INPUT_TOKENS, 0)

    @property
    def sent_cached(self) -> int:
        """Those of them that the provider had read before."""
        return self._tokens.get(CACHE_READ, 0)

    @property
    def got(self) -> int:
        """Tokens of the answers."""
        return self._tokens.get(TokenUsageKey.OUTPUT_TOKENS, 0)

    @property
    def reasoning(self) -> int:
        """Those of them that were thoughts."""
        return self._tokens.get(REASONING, 0)

    @property
    def total(self) -> int:
        """All tokens."""
        return self._tokens.get(TokenUsageKey.TOTAL_TOKENS, 0)


@contextlib.contextmanager
def spending() -> Iterator[Spent]:
    """Count what the code in this block asks language models for, while answers are counted."""
    spent = Spent()
    handed = handed_down.hand_down(**{METERS: (*(handed_down.inherited(METERS) or ()), spent)})
    try:
        yield spent
    finally:
        handed_down.take_back(handed)

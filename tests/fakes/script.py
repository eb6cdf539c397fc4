"""The script a fake LM follows: which answer comes next, and which requests it has seen."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.completion import Usage

Messages = list[dict[str, Any]]
Content = str | Mapping[str, Any] | Exception | type[Exception]


@dataclass(frozen=True)
class Answer:
    """One scripted answer with its figures.

    Args:
        text: The raw completion, output fields to write as `dspy.ChatAdapter` does, or an exception to raise.
        usage: The tokens to report.
        finish_reason: "stop", or "length" for a truncated answer.
        latency: Seconds to wait before answering or raising.
    """

    text: Content
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = "stop"
    latency: float = 0.0

    def completion(self) -> str:
        """Return the raw completion text, or raise the scripted exception."""
        if isinstance(self.text, Mapping):
            return chat_text(self.text)
        if isinstance(self.text, str):
            return self.text
        raise self.text


Answers = Content | Answer | list[Content | Answer] | Callable[[Messages], Content | Answer]


class Script:
    """Answers in order, the last one for ever, or computed from the messages; copies of an LM follow one script.

    Attributes:
        requests: The messages of every request, one entry per candidate asked for. Clear it to start again.
    """

    def __init__(self, answers: Answers) -> None:
        if isinstance(answers, list) and not answers:
            raise ValueError("A script needs at least one answer, but got an empty list.")
        computed = callable(answers) and not isinstance(answers, type)
        self._answers = answers if computed or isinstance(answers, list) else [answers]
        self._lock = threading.Lock()
        self.requests: list[Messages] = []

    def next(self, messages: Messages) -> Answer:
        """Record a request and return what answers it."""
        with self._lock:
            position = len(self.requests)
            self.requests.append(messages)
        if callable(self._answers):
            answer = self._answers(messages)
        else:
            answer = self._answers[min(position, len(self._answers) - 1)]
        return answer if isinstance(answer, Answer) else Answer(answer)

    def __deepcopy__(self, memo: dict[int, Any]) -> Script:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())


def chat_text(fields: Mapping[str, Any]) -> str:
    """Write output fields as `dspy.ChatAdapter` asks a model to."""
    values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in {**values, "completed": ""}.items()).strip()

"""What both fakes know about one completion: the tokens it is billed for and the pieces it is streamed in."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass

PIECE = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True)
class Usage:
    """The tokens of one completion; cached ones are part of the input, reasoning ones part of the output."""

    input_tokens: int = 10
    output_tokens: int = 5
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def as_openai(self) -> dict[str, object]:
        """Return the `usage` object of OpenAI's chat protocol."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }


def pieces(text: str) -> list[str]:
    """Split a text into words with the blanks that follow them, so that joining gives the text back."""
    return PIECE.findall(text) or [text]

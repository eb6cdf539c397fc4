"""What was taken out of a text and what was put in, word by word."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

# Scripts that are written without spaces: each character is a word.
_SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_WORD = re.compile(rf"\s*(?:[{_SPACELESS}]|[^\s{_SPACELESS}]+)\s*|\s+")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？\n]*\s*|[.!?。！？\n]+\s*")
# Comparing takes up to the square of these: together at most so many words, or sentences.
_MOST_WORDS = 5_000
_MOST_SENTENCES = 5_000
# So few words that stayed between two changes make one change of both, which reads better.
_ISLAND = 2


@dataclass(frozen=True)
class Piece:
    """A stretch of two texts.

    Attributes:
        same: Whether both texts have it.
        before: What the first has.
        after: What the second has.
    """

    same: bool
    before: str
    after: str


def compare_words(before: str, after: str) -> list[Piece]:
    """The pieces of two texts in their order; long texts are first compared sentence by sentence.

    White space alone makes no difference.
    """
    words = _WORD.findall(before), _WORD.findall(after)
    if sum(map(len, words)) <= _MOST_WORDS:
        return _pieces(*words)
    sentences = _SENTENCE.findall(before), _SENTENCE.findall(after)
    if sum(map(len, sentences)) > _MOST_SENTENCES:
        return [Piece(before == after, before, after)]
    return list(_within(_pieces(*sentences)))


def _within(pieces: list[Piece]) -> Iterator[Piece]:
    """The pieces, and those that changed taken apart as far as they are not too long."""
    for piece in pieces:
        words = _WORD.findall(piece.before), _WORD.findall(piece.after)
        if piece.same or not all(words) or sum(map(len, words)) > _MOST_WORDS:
            yield piece
        else:
            yield from _pieces(*words)


def _pieces(before: Sequence[str], after: Sequence[str]) -> list[Piece]:
    stripped = [[each.strip() for each in side] for side in (before, after)]
    operations = SequenceMatcher(None, *stripped, autojunk=False).get_opcodes()
    pieces: list[Piece] = []
    for place, (kind, i1, i2, j1, j2) in enumerate(operations):
        around = [each[0] for each in operations[max(place - 1, 0) : place + 2]]
        island = i2 - i1 <= _ISLAND and around == ["replace", "equal", "replace"]
        piece = Piece(kind == "equal" and not island, "".join(before[i1:i2]), "".join(after[j1:j2]))
        if pieces and not pieces[-1].same and not piece.same:
            last = pieces.pop()
            piece = Piece(False, last.before + piece.before, last.after + piece.after)
        pieces.append(piece)
    return pieces

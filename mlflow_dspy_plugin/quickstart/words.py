"""Texts as bags of word stems: what the classifier compares."""

import re
from collections import Counter
from functools import lru_cache

WORD = re.compile(r"[^\W\d_]{3,}")
STEM_LENGTH = 5
STOP_WORDS = frozenset(
    """
    about above after again against all also and any are because been before being below between
    both but came can come could did does down during each even every few first for from further get
    had has have her here him his how into its itself just last like made make many may more most
    much must new next nor not now off once one only other our out over own part per said same says
    she should since some still such take than that the their them then there these they this those
    three through too two under until upon very was way well were what when where which while who
    whom whose why will with without would year years yet you your
    """.split()
)


def _content_words(text: str) -> list[str]:
    return [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


def stem(word: str) -> str:
    """Return the first letters of a word, so that `patient` and `patients` are one."""
    return word[:STEM_LENGTH]


# The demos of a prompt come back with every question, so reading each text once saves most of a call's time.
@lru_cache(maxsize=4096)
def stems(text: str) -> frozenset[str]:
    """Return the stems of the words that carry a text's meaning."""
    return frozenset(stem(word) for word in _content_words(text))


def telling_words(text: str, count: int) -> list[str]:
    """Return the words that tell most about a text: the frequent ones first, among equals the long ones.

    Args:
        text: Any text.
        count: How many words to return at most; no two share a stem.
    """
    words = _content_words(text)
    frequency = Counter(map(stem, words))
    by_stem = {stem(word): word for word in reversed(words)}
    ranked = sorted(by_stem, key=lambda key: (-frequency[key], -len(by_stem[key]), by_stem[key]))
    return [by_stem[key] for key in ranked[:count]]

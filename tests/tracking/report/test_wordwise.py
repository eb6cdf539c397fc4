"""What was taken out and put in, word by word."""

import random

import pytest

from mlflow_dspy_plugin.tracking.report.wordwise import compare_words


def told(before, after):
    """The pieces as one text: [-taken out-] and {+put in+}."""
    written = []
    for piece in compare_words(before, after):
        if piece.same:
            written.append(piece.after)
        else:
            written += [f"[-{piece.before}-]"] if piece.before else []
            written += [f"{{+{piece.after}+}}"] if piece.after else []
    return "".join(written)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("", "", ""),
        ("same words", "same words", "same words"),
        ("", "all new", "{+all new+}"),
        ("all gone", "", "[-all gone-]"),
        ("Answer in one word.", "Answer in two words.", "Answer in [-one word.-]{+two words.+}"),
        ("Sort the texts.", "Sort the short texts.", "Sort the {+short +}texts."),
        ("a b c", "a  b\nc", "a  b\nc"),
        # Two words between two changes are part of one change; three are not.
        ("x of the y", "z of the w", "[-x of the y-]{+z of the w+}"),
        ("x of all the y", "z of all the w", "[-x -]{+z +}of all the [-y-]{+w+}"),
        ("日本語の文", "日本人の文", "日本[-語-]{+人+}の文"),
    ],
)
def test_texts_are_compared_by_words(before, after, expected):
    assert told(before, after) == expected


@pytest.mark.parametrize("words", [20, 400, 4_000, 40_000])
def test_the_pieces_are_both_texts(words):
    choose = random.Random(words)
    before = " ".join(
        choose.choice("the a of topic text. news earn\n crude? 日本 answer!".split(" ")) for _ in range(words)
    )
    after = " ".join(word for word in before.split(" ") if choose.random() > 0.02)
    pieces = compare_words(before, after)
    assert "".join(piece.before for piece in pieces) == before
    assert "".join(piece.after for piece in pieces) == after
    assert all(piece.before.split() == piece.after.split() for piece in pieces if piece.same)
    assert any(piece.same for piece in pieces) or words == 40_000


def test_a_long_text_is_compared_by_words_where_its_sentences_changed():
    lines = [f"Rule {number} is that thing {number} comes before thing {number + 1}." for number in range(1_500)]
    changed = [*lines[:900], lines[900].replace("before", "after"), *lines[901:]]
    assert "comes [-before -]{+after +}thing 901." in told("\n".join(lines), "\n".join(changed))


def test_texts_too_long_to_compare_are_taken_out_and_put_in_whole():
    before, after = "a. " * 20_000, "b. " * 20_000
    assert [(piece.same, piece.before, piece.after) for piece in compare_words(before, after)] == [
        (False, before, after)
    ]

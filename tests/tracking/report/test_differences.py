"""What changed in the program, from the first to the best."""

import pytest

from mlflow_dspy_plugin.tracking.report.differences import differences
from tests.tracking.records import candidate, program, record
from tests.tracking.report.reader import Page


def between(before, after):
    """The page's part for two programs."""
    tried = [candidate(0, 1.0, program="a"), candidate(1, 2.0, program="b")]
    return Page(
        differences(record(candidates=tried, programs={"a": before, "b": after}, before="a", best=1, returned="b"))
    )


def test_words_are_marked_by_sign_and_element():
    page = between(program("Answer in one word."), program("Answer in two words."))
    assert "Answer in −one word.+two words." in page.text
    assert page.tags >= {"del", "ins"}
    assert page.classes("sign") == 4
    assert "taken out" in page.text
    assert "put in" in page.text


def test_instructions_that_did_not_change_are_said_to_be_the_same():
    page = between(program("Sort."), program("Sort.", [{"text": "a", "topic": "b"}]))
    assert "Instructions the same in both" in page.text
    assert "0 → 1: 1 put in" in page.text


def test_white_space_alone_is_said_to_be_that():
    assert "only white space changed" in between(program("Sort  it."), program("Sort it.")).text


def test_demos_are_kept_taken_out_put_in_and_changed():
    def demo(text, topic, **more):
        return {"text": text, "topic": topic, **more}

    kept, gone = demo("kept text", "earn"), demo("this one has gone", "ship")
    old, new = demo("a tanker waits off Rotterdam today", "trade"), demo("a tanker waits off Rotterdam today", "ship")
    added = demo("quite another one", "crude", augmented=True)
    page = between(program("S", [gone, kept, old]), program("S", [kept, new, added]))
    assert "3 → 3: 1 taken out, 1 changed, 1 put in, 1 kept" in page.text
    assert "topic: −trade+ship" in page.text
    assert "−text: this one has gone topic: ship" in page.text
    assert "+text: quite another one topic: crude (answered by the program itself)" in page.text


def test_a_predictor_that_only_one_program_has_is_shown():
    two = program("S")
    two["predictors"]["check.predict"] = {"signature": "topic -> ok", "instructions": "Check it.", "demos": []}
    assert "check.predict" in between(program("S"), two).text
    assert "−Check it." in between(two, program("S")).text


def test_a_changed_signature_is_shown():
    other = program("S")
    other["predictors"]["sort.predict"]["signature"] = "text -> reasoning, topic"
    assert "text -> +reasoning, topic" in between(program("S"), other).text


def test_what_is_said_of_a_field_is_shown_where_it_has_changed():
    other = program("S")
    other["predictors"]["sort.predict"]["fields_said"]["topic"] = {"prefix": "Its topic:", "desc": "${topic}"}
    page = between(program("S"), other)
    assert "Fields topic prefix: −Topic:+Its topic:" in page.text
    assert "description" not in page.text
    assert "Fields" not in between(program("S"), program("T")).text


def test_a_best_that_is_the_first_is_the_program_as_it_was():
    page = Page(differences(record(best=0, returned=None)))
    assert "Candidate 0 (the best) is the program before: no instructions or demos changed." in page.text
    assert not page.tags & {"del", "ins"}


def test_it_begins_with_the_program_before_and_not_with_what_was_tried_first():
    tried = [candidate(0, 1.0, program="a"), candidate(1, 2.0, program="b")]
    programs = {"s": program("Seed."), "a": program("First."), "b": program("Second.")}
    page = Page(differences(record(candidates=tried, programs=programs, before="s", best=1, returned="b")))
    assert "From the program before to candidate 1 (the best)" in page.text
    assert "−Seed.+Second." in page.text
    page = Page(differences(record(candidates=tried, programs=programs, before=None, best=1, returned="b")))
    assert "From candidate 0 (the first) to candidate 1 (the best)" in page.text


def test_where_none_is_the_best_the_last_is_compared():
    assert "to candidate 11 (the last)" in Page(differences(record(best=None, returned=None))).text


def test_a_program_that_was_returned_without_a_score_is_compared_with_the_one_before():
    programs = {"s": program("Sort."), "r": program("Sort.", [{"text": "a", "topic": "b"}])}
    page = Page(differences(record(candidates=[], programs=programs, before="s", returned="r", best=None)))
    assert "From the program before to the program that was returned" in page.text
    assert "0 → 1: 1 put in" in page.text
    page = Page(differences(record(candidates=[], programs=programs, before=None, returned="r", best=None)))
    assert page.text.count("−") == 1
    assert "From nothing to the program that was returned" in page.text
    assert "+Sort." in page.text


def test_a_program_that_was_returned_is_compared_though_another_has_scored_higher():
    tried = [candidate(0, 1.0, program="a"), candidate(1, 2.0, program="b")]
    programs = {"s": program("Seed."), "a": program("First."), "b": program("Second.")}
    page = Page(differences(record(candidates=tried, programs=programs, before="s", returned="a", best=1)))
    assert "From the program before to candidate 0 (which was returned)" in page.text
    assert "−Seed.+First." in page.text


def test_a_long_stretch_that_stayed_is_folded():
    long = "Keep every one of these words. " * 60
    page = between(program(f"{long}Then one."), program(f"{long}Then two."))
    assert "words that stayed the same" in page.text
    assert page.classes("stayed") == 1


@pytest.mark.parametrize(("sides", "said"), [(0, "taken out"), (1, "put in")])
def test_a_long_change_is_folded(sides, said):
    texts = ["Sort.", " ".join(f"word{number}" for number in range(2_000))]
    page = between(*(program(text) for text in (texts if sides else texts[::-1])))
    assert f"words more {said}" in page.text
    assert page.classes("stayed") == 1
    assert "word1999" in page.text


def test_very_many_demos_are_counted():
    demos = [{"text": f"text {number} {'x' * number}", "topic": "earn"} for number in range(100)]
    page = between(program("S"), program("S", demos))
    assert "60 more demos are left out here." in page.text

"""Chunks of fields, as DSPy tells them, read as pieces of the text that the field will have."""

import dspy
import pytest
from dspy.streaming import StreamResponse

from mlflow_dspy_plugin.serving.field_texts import FieldTexts


def pieces(adapter, *chunks):
    """What is read of chunks of one field, the last of which is told as the last."""
    with dspy.context(adapter=adapter):
        texts = FieldTexts()
    told = [StreamResponse("self", "answer", chunk, chunk is chunks[-1]) for chunk in chunks]
    return [read.chunk for chunk in told if (read := texts.read(chunk)) is not None]


def test_blanks_around_a_text_are_left_out_and_those_in_it_are_kept():
    assert pieces(dspy.ChatAdapter(), "\n one ", "\n", "two", "\n\n") == ["one", " \ntwo", ""]


@pytest.mark.parametrize("begin", ['"', ' "', ""], ids=repr)
def test_a_text_in_json_is_read_as_its_letters(begin):
    # Releases of DSPy differ in whether they tell the first quote.
    assert "".join(pieces(dspy.JSONAdapter(), begin + "one ", 'two\\n\\"three\\"', '"')) == 'one two\n"three"'


def test_what_follows_the_end_of_a_text_in_json_is_left_out():
    assert pieces(dspy.JSONAdapter(), '"one', '", "other": ', '"two"}') == ["one", ""]


@pytest.mark.parametrize("cut", range(1, 24))
def test_an_escape_may_come_in_two_chunks(cut):
    whole = '"a\\\\b\\u00e9\\ud83d\\ude00c"'
    assert "".join(pieces(dspy.JSONAdapter(), whole[:cut], whole[cut:])) == "a\\bé😀c"


def test_a_predictor_that_is_called_again_begins_a_text_of_its_own():
    with dspy.context(adapter=dspy.JSONAdapter()):
        texts = FieldTexts()
    told = [("one", True), (' "two"', True)]
    assert [texts.read(StreamResponse("p", "f", text, last)).chunk for text, last in told] == ["one", "two"]

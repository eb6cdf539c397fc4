"""The text of a prompt: what MLflow and people read in it, and that it comes back as it was."""

import itertools

import pytest
from mlflow.entities.model_registry import PromptVersion

from mlflow_dspy_plugin.errors import PromptError
from mlflow_dspy_plugin.prompts.wording import Demo, Said, Value, read, write

HOSTILE = [
    "",
    " ",
    "\n",
    "a\n",
    "\na",
    "a\n\n\nb",
    "  indented\n    more",
    "trailing  \nblanks  ",
    "{{question}}",
    "{{ question }} and {{{question}}} and {\\{question}}",
    "{\\\\{x}} {\\%",
    "{% if question %}{# no #}{% endif %}",
    "--- fields ---",
    "\\--- fields ---",
    "a\n--- demo ---\nquestion: x",
    "--- demo --- \n--- demos ---\t\n\\--- Demos --- ",
    "--- Field list ---\n--- decision ---",
    "--- inputs ---\nquestion: {{other}}",
    "name = 3",
    "tab\there",
    "carriage\r\nreturn",
    "nothing\x00at all",
    "half \ud800 a letter",
    "line\u2028separator\x85",
    "ü 漢字 🐻",
    "\ufeffmark",
    '{"a": {"b": {"c": 1}}}',
]


def said(instructions="Answer.", **values):
    demo = Demo({name: Value(value) for name, value in values.items()})
    return Said(instructions, {"question": {"type": "str"}}, (demo,) if values else ())


def back(told):
    return read(write(told, ["question"]), "qa")


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_comes_back_from_instructions_and_demos(text):
    told = back(said(text, question=text, other="x"))
    assert told.instructions == text
    assert told.demos[0].values["question"] == Value(text)
    assert told.variables == {"question"}


def test_every_short_text_of_what_the_syntax_is_made_of_comes_back():
    for parts in itertools.product(["{", "\\", "%", "\n", " ", "a:"], repeat=4):
        text = "".join(parts)
        told = back(said(text, question=text))
        assert (told.instructions, told.demos[0].values["question"].content) == (text, text)


@pytest.mark.parametrize("text", HOSTILE)
def test_mlflow_sees_the_inputs_as_variables_and_nothing_else(text):
    prompt = PromptVersion("qa", 1, write(said(text, question=text), ["question"]))
    assert prompt.variables == {"question"}
    # No Jinja template either, of which MLflow would run what stands in it.
    assert prompt.format(question="Who?").endswith("\n--- inputs ---\n- question: Who?")


def test_names_that_are_no_words_and_values_of_json_come_back():
    values = {"a b": [1, {"c": None}], "ä": 1.5, 'q"': True, "": "empty", "x (typed)": 10**30, "l\nn": {}}
    told = back(said(**values))
    assert {name: value.content for name, value in told.demos[0].values.items()} == values


def test_who_edits_it_may_leave_blank_lines_and_the_blanks_at_their_ends():
    text = "Answer.\n\n\n--- fields ---\nquestion: str\n\n--- demo ---\n\nquestion:\n  a\n\n  b\n\n\n--- inputs ---"
    told = read(text, "qa")
    assert told.instructions == "Answer.\n"
    assert told.demos == (Demo({"question": Value("a\n\nb")}),)


def test_the_hyphens_of_its_lines_may_be_left_out():
    written = write(said(question="a\nb", other=3), ["question"])
    assert "- question:\n  a\n  b\n- other = 3\n" in written
    assert read(written.replace("\n- ", "\n"), "qa") == read(written, "qa")


def test_a_text_without_sections_is_instructions_alone():
    told = read("Answer {{ question }} in one word.\n", "qa")
    assert told == Said("Answer `question` in one word.\n", None, variables=frozenset({"question"}))


WHOLE = write(said("Answer.\n\nBriefly.", question="a\nb", other=3), ["question"])


@pytest.mark.parametrize(
    "edited",
    [WHOLE.replace("\n", "\r\n"), WHOLE.replace(" ---\n", " --- \t\n"), WHOLE.replace("\n\n", "\r\n\n")],
    ids=["of Windows", "blanks after titles", "of both"],
)
def test_line_ends_of_windows_and_blanks_after_titles_change_nothing(edited):
    assert edited != WHOLE
    assert read(edited, "qa") == read(WHOLE, "qa")


def test_line_ends_of_windows_are_none_of_instructions_by_hand():
    assert read("Answer.\r\nBriefly.\r\n", "qa").instructions == "Answer.\nBriefly.\n"


@pytest.mark.parametrize("title", ["demos", "demo 1", "Demo", "FIELDS", "field", "input", "inputs:", "instruction"])
@pytest.mark.parametrize("rest", ["", "\n\n--- inputs ---\n- question: {{question}}"], ids=["alone", "before another"])
def test_a_title_that_is_none_is_refused_and_taken_for_no_instructions(title, rest):
    with pytest.raises(PromptError, match=f"qa cannot be read: line 3 is '--- {title} ---', which is no section"):
        read(f"Answer.\n\n--- {title} ---\n- question: x{rest}", "qa")


@pytest.mark.parametrize("line", ["--- Important ---", "---", "--- fielding ---", " --- demos ---", "demos"])
def test_other_lines_of_hyphens_are_instructions(line):
    assert read(f"Answer.\n{line}\nBriefly.", "qa").instructions == f"Answer.\n{line}\nBriefly."


@pytest.mark.parametrize("rest", ["", "\n\n--- inputs ---"], ids=["alone", "before a section"])
def test_a_backslash_says_that_a_line_is_no_title(rest):
    assert read(f"Answer.\n\\--- demos ---{rest}", "qa").instructions == "Answer.\n--- demos ---"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("question", "line 4 is 'question'"),
        ("question = {", "line 4 is no JSON"),
        (" question: a", "line 4 is ' question: a'"),
    ],
)
def test_a_line_that_is_none_is_named_by_its_number(line, reason):
    with pytest.raises(PromptError, match=f"The prompt qa cannot be read: {reason}"):
        read(f"Answer.\n\n--- demo ---\n{line}", "qa")


@pytest.mark.parametrize("line", ["question.colour: red", "question = 3"])
def test_a_line_about_a_field_that_says_nothing_known_is_refused(line):
    with pytest.raises(PromptError, match="says of 'question"):
        read(f"Answer.\n\n--- fields ---\n{line}", "qa")

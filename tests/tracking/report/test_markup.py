"""What is no markup is text."""

import pytest

from mlflow_dspy_plugin.tracking.report.folding import cut, fields, folded, shortened
from mlflow_dspy_plugin.tracking.report.markup import Html, element, escaped, join


@pytest.mark.parametrize(
    ("made", "written"),
    [
        (element("p", "<b> & 'quotes' \""), "<p>&lt;b&gt; &amp; &#x27;quotes&#x27; &quot;</p>"),
        (element("p", Html("<br>"), None, 3, ["a", ("b", element("i", "c"))]), "<p><br>3ab<i>c</i></p>"),
        (
            element("a", title='" onclick="x', class_="c", aria_label="d"),
            '<a title="&quot; onclick=&quot;x" class="c" aria-label="d"></a>',
        ),
        (element("p", id=None, hidden=True, lang=False), "<p hidden></p>"),
        (element("br"), "<br>"),
        (join(), ""),
        (escaped("a\x00b\ud800c\n\t"), "a\ufffdb\ufffdc\n\t"),
    ],
)
def test_elements_are_written_with_all_text_escaped(made, written):
    assert made == written
    assert isinstance(made, Html)


def test_a_text_stays_text_however_it_is_made_into_another():
    assert element("p", "<" + Html("b>")) == "<p>&lt;b&gt;</p>"


def test_a_short_value_is_shown_and_a_long_one_folded():
    assert "<details>" not in folded("short")
    assert folded("long " * 100).startswith("<details><summary>long long")
    assert "500 characters" in folded("long " * 100)
    assert "<details>" in folded("\n" * 10)


def test_a_huge_value_is_cut_and_says_so():
    assert cut("x" * 50, 10) == "xxxxxxxxxx…\n[40 more characters are left out here]"
    assert len(folded("x" * 1_000_000)) < 6_000


def test_a_beginning_is_one_line():
    assert shortened("a\n  b") == "a b"
    assert len(shortened("word " * 1_000, 20)) <= 20


def test_named_values_are_a_list_of_definitions():
    assert (
        fields({"<a>": 1})
        == '<dl class="fields"><div><dt>&lt;a&gt;</dt> <dd><span class="text" dir="auto">1</span></dd></div></dl>'
    )
    assert fields({}) == fields(None) == '<span class="none">–</span>'

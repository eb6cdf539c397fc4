"""Every example of the documentation is run by a test."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Documents and languages -> the test that runs their examples, and how it does: all in a row, or by their numbers.
RUN = {
    ("README.md", "python"): ("integration/test_readme.py", r'for block in blocks\("python"\):'),
    ("README.md", "py"): ("integration/test_readme_rows.py", r'SPARK, RAY, DASK = blocks\("py"\)'),
    ("docs/feedback_loop.md", "python"): (
        "integration/test_genai_datasets.py",
        r"for language, block in blocks\(\):\n +loop\.run\(language, block\)",
    ),
    ("docs/gateway.md", "python"): ("integration/test_gateway.py", r"exec\(.*\[(-?\d+)\]"),
}


def examples(document: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a document, each with its language."""
    return re.findall(r"^ *```(\S*).*\n((?:.*\n)*?) *```$", document.read_text(encoding="utf-8"), re.MULTILINE)


def is_python(text: str) -> bool:
    """Whether a text can be Python."""
    try:
        return bool(ast.parse(text).body)
    except SyntaxError:
        return False


def python_in(document: Path) -> dict[str, int]:
    """How many blocks of Python a document has, by what their language is called."""
    languages = [
        language for language, text in examples(document) if language.lower().strip("{}.").startswith(("py", "ipy"))
    ]
    return {language: languages.count(language) for language in languages}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_its_examples_in_python_are_run_by_a_test(document):
    for language, count in python_in(document).items():
        test, how = RUN[str(document.relative_to(ROOT)), language]
        found = re.findall(how, (ROOT / test).read_text(encoding="utf-8"))
        assert found, f"{test} no longer runs the examples of {document.name} by {how}"
        numbers = {int(each) % count for each in found if each.lstrip("-").isdigit()}
        assert not numbers or numbers == set(range(count)), f"{test} runs {sorted(numbers)} of {count} examples"
        assert (
            document.name in (ROOT / test).read_text(encoding="utf-8") or "import README" in (ROOT / test).read_text()
        )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_it_says_of_its_python_that_it_is(document):
    assert "~~~" not in document.read_text(encoding="utf-8")
    assert [text for language, text in examples(document) if not language and is_python(text)] == []


def test_what_is_said_to_be_run_is_there():
    found = {(str(each.relative_to(ROOT)), language) for each in DOCUMENTS for language in python_in(each)}
    assert set(RUN) == found

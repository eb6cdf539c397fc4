"""Where content must not be captured, a trace keeps its outline and none of its texts and numbers."""

import json

import dspy
import pytest

from mlflow_dspy_plugin.tracing.content import Content


@pytest.fixture(autouse=True)
def tracing():
    """Nothing here needs autologging."""


@pytest.fixture(autouse=True)
def store():
    """Nothing here needs a tracking store."""


def outline(value, attach=None):
    return json.loads(Content(capture=False).of_trace().dump(value, attach))


def text(length):
    return f"[text of {length:,} characters]"


OUTLINES = {
    "a text": ("John's secret", text(13)),
    "a long text": ("a" * 50_000, text(50_000)),
    "numbers": (
        {"age": 42, "score": 0.5, "ok": True, "none": None},
        {"age": "[number]", "score": "[number]", "ok": True, "none": None},
    ),
    "lists": (["ab", [], [1]], [text(2), [], ["[number]"]]),
    "messages": (
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "John", "type": "mine"}],
        [{"role": "user", "content": [{"type": "text", "text": text(2)}]}, {"role": text(4), "type": text(4)}],
    ),
    "tool calls": (
        {
            "tool_calls": [{"type": "function", "function": {"name": "search", "arguments": '{"q": "x"}'}}],
            "name": "John",
        },
        {"tool_calls": [{"type": "function", "function": {"name": "search", "arguments": text(10)}}], "name": text(4)},
    ),
    "parameters": (
        {"temperature": 0.5, "max_tokens": 100, "n": 2, "seed": "text", "stop": ["a"]},
        {"temperature": 0.5, "max_tokens": 100, "n": 2, "seed": text(4), "stop": [text(1)]},
    ),
    "names that are content": ({"john@a.com": 1, "x y": "a"}, {"[name 1]": "[number]", "[name 2]": text(1)}),
    "secrets": ({"api_key": "abc"}, {"api_key": "[REDACTED]"}),
    "bytes": ([b"a" * 2000], ["[2,000 bytes]"]),
    "an image": (
        dspy.Image(url="data:image/png;base64," + "A" * 5000),
        {"type": "image_url", "image_url": {"url": text(5022)}},
    ),
    "an object": (dspy.Prediction(answer="a"), {"answer": text(1)}),
}


@pytest.mark.parametrize(("value", "expected"), OUTLINES.values(), ids=OUTLINES)
def test_of_a_value_only_its_outline_is_kept(value, expected):
    attached = []
    assert outline(value, lambda *attachment: attached.append(attachment)) == expected
    assert attached == []


def test_a_bare_text_is_kept_by_its_length():
    assert Content(capture=False).of_trace().text("no such user: John") == text(18)


def test_of_a_stack_the_places_are_kept():
    stack = 'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    g("John")\nValueError: John\n'
    shown = Content(capture=False).of_trace().text(stack, is_stack=True)
    assert shown == f'Traceback (most recent call last):\n  File "a.py", line 3, in f\n{text(len(stack))}'

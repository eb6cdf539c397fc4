"""What an adapter could not read, and which adapter was tried next."""

import contextlib

import dspy
import pytest

from tests.fakes.scripted import Answer, scripted_lm
from tests.tracing.trees import spans_named

PREDICT = dspy.Predict("question -> answer")


def events_of(found):
    """The events of the one predictor's span, without the exceptions that ended it."""
    [span] = spans_named(found, "Predict.forward")
    return [(event.name, event.attributes) for event in span.events if event.name != "exception"]


def test_a_failed_parse_and_the_fallback_are_events_of_the_predictor(trace):
    with dspy.context(lm=scripted_lm(["no fields at all", '{"answer": "a"}'])):
        PREDICT(question="q")
    [failed, fallback] = events_of(trace())
    assert failed[0] == "dspy.adapter.parse_failed"
    assert failed[1]["adapter"] == "ChatAdapter"
    assert "no fields at all" in failed[1]["error"]
    assert fallback == ("dspy.adapter.fallback", {"from": "ChatAdapter", "to": "JSONAdapter"})


def test_after_an_error_of_the_language_model_a_fallback_is_told_where_the_release_tries_another_adapter(trace):
    with dspy.context(lm=scripted_lm([RuntimeError("down"), '{"answer": "a"}'])), contextlib.suppress(Exception):
        PREDICT(question="q")
    found = trace()
    tried = spans_named(found, "JSONAdapter.format")
    assert events_of(found) == [("dspy.adapter.fallback", {"from": "ChatAdapter", "to": "JSONAdapter"})] * len(tried)


def test_two_calls_that_succeed_are_no_fallback(trace):
    class Both(dspy.Module):
        def forward(self):
            with dspy.context(adapter=dspy.JSONAdapter()):
                PREDICT(question="q", lm=scripted_lm('{"answer": "a"}'))
            return PREDICT(question="q")

    Both()()
    assert [span.events for span in trace().data.spans if span.events] == []


def test_what_the_provider_echoes_is_redacted_in_events_too(trace):
    key = "sk-canary0123456789abcdef"
    with dspy.context(lm=scripted_lm([f"your key is {key}"])), pytest.raises(Exception, match="parse"):
        PREDICT(question="q")
    found = trace()
    assert [name for name, _ in events_of(found)][:1] == ["dspy.adapter.parse_failed"]
    assert key not in found.to_json()


def test_a_two_step_adapter_falls_back_to_nothing(trace):
    answers = [Answer("the answer is a"), {"answer": "a"}]
    adapter = dspy.TwoStepAdapter(scripted_lm({"answer": "a"}))
    with dspy.context(lm=scripted_lm(answers), adapter=adapter):
        PREDICT(question="q")
    assert events_of(trace()) == []

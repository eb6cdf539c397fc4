"""Messages in OpenAI's chat form -> messages made of parts."""

import json

import pytest
from mlflow.entities import SpanType
from opentelemetry.sdk.trace import ReadableSpan

from mlflow_dspy_plugin.seams.spans import INPUTS, OUTPUTS
from mlflow_dspy_plugin.tracing.conversations import conversation_of

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
PARTS = {
    "a text": ({"content": "hi"}, [{"type": "text", "content": "hi"}]),
    "nothing": ({"content": None}, []),
    "a number": ({"content": 3}, [{"type": "text", "content": "3"}]),
    "texts": (
        {"content": [{"type": "text", "text": "a"}, "b"]},
        [{"type": "text", "content": "a"}, {"type": "text", "content": "b"}],
    ),
    "an image by its address": (
        {"content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]},
        [{"type": "uri", "modality": "image", "uri": "https://a/b.png"}],
    ),
    "an image by its data": (
        {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]},
        [{"type": "blob", "modality": "image", "mime_type": "image/png", "content": "QUJD"}],
    ),
    "sound": (
        {"content": [{"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}]},
        [{"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "QUJD"}],
    ),
    "a part that nobody knows": (
        {"content": [{"type": "hologram", "id": 1}]},
        [{"type": "text", "content": '{"type": "hologram", "id": 1}'}],
    ),
    "a call of a tool": (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        [{"type": "tool_call", "id": "call_1", "name": "f", "arguments": {"x": 1}}],
    ),
    "a call with broken arguments": (
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]},
        [{"type": "tool_call", "id": "1", "name": "f", "arguments": "{"}],
    ),
    "the result of a tool": (
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        [{"type": "tool_call_response", "id": "call_1", "response": "42"}],
    ),
    "reasoning": (
        {"role": "assistant", "reasoning": "hm", "content": "yes"},
        [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "yes"}],
    ),
}


def an_lm_span(inputs, outputs=None):
    values = {"mlflow.spanType": SpanType.CHAT_MODEL, "mlflow.llm.model": "m", INPUTS: inputs, OUTPUTS: outputs}
    return ReadableSpan("LM.__call__", attributes={key: json.dumps(value) for key, value in values.items()})


def told(span):
    return {key: json.loads(text) for key, text in conversation_of(span).items()}


@pytest.mark.parametrize(("message", "parts"), PARTS.values(), ids=PARTS)
def test_a_message_is_made_of_parts(message, parts):
    role = message.get("role", "user")
    found = told(an_lm_span({"messages": [message]}))
    assert found == {"gen_ai.input.messages": [{"role": role, "parts": parts}]}


def test_the_system_s_messages_stand_by_themselves():
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert told(an_lm_span({"messages": messages})) == {
        "gen_ai.system_instructions": [{"type": "text", "content": "be kind"}],
        "gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}],
    }


def test_every_answer_is_a_message_with_its_reason_to_finish():
    choices = [
        {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"},
        {"index": 1, "message": {"content": "n"}, "finish_reason": "length"},
        {"index": 2, "message": None, "finish_reason": None},
    ]
    assert told(an_lm_span({}, {"choices": choices})) == {
        "gen_ai.output.messages": [
            {"role": "assistant", "parts": [{"type": "text", "content": "yes"}], "finish_reason": "stop"},
            {"role": "assistant", "parts": [{"type": "text", "content": "n"}], "finish_reason": "length"},
            {"role": "assistant", "parts": []},
        ]
    }


@pytest.mark.parametrize("inputs", [None, "[text of 9 characters]", {"messages": "x"}, {"messages": ["x"]}, ["x"]])
@pytest.mark.parametrize("outputs", [None, "x", ["x"], {"choices": "x"}, {"choices": ["x"]}])
def test_what_is_no_conversation_is_none(inputs, outputs):
    assert told(an_lm_span(inputs, outputs)) == {}


def test_the_outline_of_a_conversation_stays_an_outline():
    outline = "[text of 12 characters]"
    inputs = {"messages": [{"role": "user", "content": outline}]}
    outputs = {"choices": [{"message": {"role": "assistant", "content": outline}, "finish_reason": "stop"}]}
    found = told(an_lm_span(inputs, outputs))
    texts = [part["content"] for messages in found.values() for message in messages for part in message["parts"]]
    assert texts == [outline, outline]

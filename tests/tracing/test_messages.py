"""Messages of every kind become what MLflow's trace viewer shows, and lose nothing on the way."""

from types import SimpleNamespace

import dspy
import pytest

from mlflow_dspy_plugin.seams.lm_shapes import messages_of, parameters_of
from mlflow_dspy_plugin.tracing import messages
from tests.tracing.viewer import shows

PIXEL = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TYPED = getattr(dspy, "lm15", None)

# A part of a message, and what the viewer is given.
PARTS = {
    "text": ({"type": "text", "text": "a"}, {"type": "text", "text": "a"}),
    "a bare text": ("a", {"type": "text", "text": "a"}),
    "input text": ({"type": "input_text", "text": "a"}, {"type": "text", "text": "a"}),
    "image": (
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ),
    "image of an unknown detail": (
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "huge"}},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ),
    "image of Responses": (
        {"type": "input_image", "image_url": PIXEL},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ),
    "image of Anthropic's": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ),
    "audio": (
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
    ),
    "audio of another format": (
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "flac"}},
        {"type": "text", "text": "[input_audio flac]", "input_audio": {"data": "UklG", "format": "flac"}},
    ),
    "file": (
        {"type": "file", "file": {"filename": "r.pdf", "file_data": "data:application/pdf;base64,AA"}},
        {
            "type": "text",
            "text": "[file r.pdf]",
            "file": {"filename": "r.pdf", "file_data": "data:application/pdf;base64,AA"},
        },
    ),
    "what nobody knows": (
        {"type": "hologram", "data": "x"},
        {"type": "text", "text": "[hologram]", "hologram": {"data": "x"}},
    ),
    "a text that is none": ({"type": "text", "text": None}, {"type": "text", "text": "[part]", "part": {"text": None}}),
}


@pytest.mark.parametrize("kind", PARTS)
def test_each_part_of_a_message_is_shown(kind):
    given, shown = PARTS[kind]
    [message] = messages.conversation([{"role": "user", "content": [given]}])
    assert message == {"role": "user", "content": [shown]}
    assert shows({"messages": [message]}, {"choices": []})


# A message, and what the viewer is given.
MESSAGES = {
    "text": ({"role": "user", "content": "a"}, {"role": "user", "content": "a"}),
    "developer": ({"role": "developer", "content": "a"}, {"role": "system", "content": "a"}),
    "tool calls": (
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ),
    "tool calls as objects, half of them missing": (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [SimpleNamespace(id=None, function=SimpleNamespace(name="f", arguments={"x": 1}))],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
        },
    ),
    "tool result": (
        {"role": "tool", "tool_call_id": "1", "name": "weather", "content": "rain"},
        {"role": "tool", "tool_call_id": "1", "name": "weather", "content": "rain"},
    ),
    "reasoning": (
        {"role": "assistant", "content": "a", "reasoning_content": "because"},
        {"role": "assistant", "content": "a", "reasoning": "because"},
    ),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_each_message_is_shown(kind):
    given, shown = MESSAGES[kind]
    assert messages.conversation([given]) == [shown]
    assert shows({"messages": [shown]}, {"choices": []})


@pytest.mark.parametrize("given", [None, "text", 7, {"role": "user"}, [None], ["text"]], ids=repr)
def test_what_is_no_list_of_messages_is_left_as_it_is(given):
    assert messages.conversation(given) == given


@pytest.mark.skipif(TYPED is None, reason="this dspy has no typed requests")
def test_a_typed_request_is_a_conversation():
    turns = (
        TYPED.Message.user([TYPED.TextPart("look"), TYPED.ImagePart(data="iVBORw0KGgo=")]),
        TYPED.Message.assistant([TYPED.ThinkingPart("hm"), TYPED.ToolCallPart("1", "weather", {"city": "Oslo"})]),
        TYPED.Message(role="tool", parts=(TYPED.ToolResultPart("1", (TYPED.TextPart("rain"),), name="weather"),)),
        TYPED.Message.user([TYPED.DocumentPart(data="AA=="), TYPED.TextPart("and?")]),
    )
    tool = TYPED.FunctionTool("weather", "Tell it.", {"type": "object", "properties": {}})
    asked = TYPED.Request(
        "m", turns, system="be brief", tools=(tool,), config=TYPED.Config(max_tokens=5, stop=("END",))
    )
    told = messages.conversation(messages_of({"prompt": asked}))
    document = {"media_type": "application/pdf", "file_data": "data:application/pdf;base64,AA=="}
    assert told == [
        {"role": "system", "content": "be brief"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
        },
        {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "name": "weather", "content": "rain"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[file application/pdf]", "file": document},
                {"type": "text", "text": "and?"},
            ],
        },
    ]
    assert shows({"messages": told}, {"choices": []})
    parameters = parameters_of(None, {"prompt": asked})
    assert (parameters["max_tokens"], parameters["stop"]) == (5, ("END",))
    assert parameters["tools"][0]["function"]["name"] == "weather"

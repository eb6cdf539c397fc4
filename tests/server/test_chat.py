"""`/v1/chat/completions`, as OpenAI's clients ask it."""

import json

import dspy
import pytest

from tests.fakes.openai_server import Reply, Usage
from tests.fakes.script import chat_text
from tests.server.conftest import ANSWER
from tests.server.running import objects, running
from tests.serving import chatty

PATH = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "What bear?"}]}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}  # fmt: skip


def streamed(server, **body) -> list[dict]:
    return objects(server.ask({**ASK, "stream": True, **body}, PATH))


def test_a_completion_is_whole(server):
    told = server.ask({"model": "qa", **ASK}, PATH).json()
    assert told.pop("id").startswith("chatcmpl-")
    assert isinstance(told.pop("created"), int)
    assert told == {
        "object": "chat.completion",
        "model": "openai/bears",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_a_stream_tells_the_role_then_the_text_and_why_it_ends(server):
    first, *chunks, last = [chunk["choices"][0] for chunk in streamed(server)]
    assert first["delta"] == {"role": "assistant", "content": ""}
    assert "".join(chunk["delta"]["content"] for chunk in chunks) == ANSWER
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")


def test_the_usage_of_a_stream_is_told_after_all_else_if_it_is_asked_for(server):
    without = streamed(server, stream_options={"include_usage": False})
    *chunks, last = streamed(server, stream_options={"include_usage": True})
    assert not any("usage" in chunk for chunk in without)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 15)
    assert last["id"] == chunks[0]["id"]


def test_a_model_is_asked_by_its_name_or_by_that_of_its_language_model(save, lm):
    lm.models["lions"] = lambda messages, body: chat_text({"answer": "the lion"})
    cats = dspy.Predict("question -> answer")
    cats.set_lm(dspy.LM("openai/lions", api_base=lm.base_url, num_retries=0, cache=False))
    first = save(dspy.Predict("question -> answer"), "first", allowed_models=["openai/pandas"])
    lm.models["pandas"] = lambda messages, body: chat_text({"answer": "the panda"})
    with running({"zoo": first, "cats": save(cats, "second")}) as server:
        told = {}
        for name in (None, "zoo", "cats", "openai/bears", "lions", "openai/pandas", "tigers"):
            response = server.ask({**ASK, "model": name}, PATH)
            told[name] = response.json()["choices"][0]["message"]["content"] if response.is_success else response.json()
    unknown = told.pop("tigers")["error"]
    assert told == {
        None: ANSWER, "zoo": ANSWER, "cats": "the lion", "openai/bears": ANSWER, "lions": "the lion", "openai/pandas": "the panda"
    }  # fmt: skip
    assert (unknown["code"], unknown["type"]) == ("model_not_found", "invalid_request_error")
    assert unknown["message"] == "'tigers' is none of the models that are served here. GET /v1/models lists them."


def test_tools_are_called_in_openai_s_form_whole_and_as_a_stream(save, lm):
    calls = {"tool_calls": [{"name": "look", "args": {"at": "the zoo"}}]}
    lm.models["bears"] = lambda messages, body: Reply(chat_text({"answer": "", "calls": calls}), usage=Usage(10, 5))
    with running(save(dspy.Predict(chatty.Caller))) as server:
        whole = server.ask({**ASK, "tools": [LOOK]}, PATH).json()["choices"][0]
        chunks = [chunk["choices"][0] for chunk in streamed(server, tools=[LOOK])]
    [call] = whole["message"]["tool_calls"]
    assert (whole["finish_reason"], whole["message"]["content"]) == ("tool_calls", None)
    assert (call["type"], call["function"]["name"], json.loads(call["function"]["arguments"])) == ("function", "look", {"at": "the zoo"})  # fmt: skip
    [streamed_call] = [call for chunk in chunks for call in chunk["delta"].get("tool_calls", ())]
    assert (streamed_call["index"], streamed_call["function"]) == (0, call["function"])
    assert chunks[-1]["finish_reason"] == "tool_calls"


def test_what_is_asked_for_reaches_the_language_model(shared):
    lm, server = shared
    lm.requests.clear()
    server.ask({**ASK, "temperature": 0.25, "seed": 7, "model": "qa"}, PATH)
    [asked] = lm.requests
    assert (asked.body["temperature"], asked.body["seed"], asked.body["model"]) == (0.25, 7, "bears")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [1]},
        {"messages": [{"role": "bear", "content": "x"}]},
        {"messages": [{"role": ["user"], "content": "x"}]},
        {**ASK, "model": 3},
        {**ASK, "stream": "yes"},
        {**ASK, "stream": 1},
        {**ASK, "stream_options": True},
        {**ASK, "stream_options": {"include_usage": "yes"}},
        {**ASK, "temperature": "hot"},
        {**ASK, "temperature": True},
        {**ASK, "max_tokens": 0},
        {**ASK, "n": 0},
        {**ASK, "n": 2, "stream": True},
        {**ASK, "tools": {}},
        {**ASK, "tools": [LOOK]},
        {**ASK, "tool_choice": 3},
        {**ASK, "custom_inputs": {"colour": "black"}},
        {**ASK, "return_trace_id": "yes"},
    ],
    ids=repr,
)
def test_a_body_that_means_nothing_is_refused_in_openai_s_form(body, server):
    response = server.ask(body, PATH)
    told = response.json()["error"]
    assert (response.status_code, told["type"], told["param"], told["code"]) == (
        400,
        "invalid_request_error",
        None,
        None,
    )
    assert told["message"]

"""`/v1/responses`, as OpenAI's clients ask it."""

import json

import dspy
import mlflow
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from tests.conftest import store  # noqa: F401
from tests.fakes.openai_server import Reply, Usage
from tests.fakes.script import chat_text
from tests.server.conftest import ANSWER
from tests.server.running import objects, running
from tests.serving import chatty

PATH = "/v1/responses"
ASK = {"input": "What bear?"}
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}


def streamed(server, **body) -> list[dict]:
    return objects(server.ask({**ASK, "stream": True, **body}, PATH))


def read_whole(response: dict) -> dict:
    # Newer releases of OpenAI's know it; MLflow's class drops it.
    response["usage"]["input_tokens_details"].setdefault("cache_write_tokens", 0)
    return response


@pytest.mark.parametrize("given", ["What bear?", [{"role": "user", "content": "What bear?"}]], ids=["text", "items"])
def test_a_response_is_one_of_openai_s(given, server):
    response = server.ask({"model": "qa", "input": given}, PATH)
    told = Response.model_validate(read_whole(response.json()))
    assert (response.status_code, told.output_text, told.status) == (200, ANSWER, "completed")
    assert (told.usage.input_tokens, told.usage.output_tokens) == (10, 5)


def test_a_stream_has_openai_s_events(server):
    told = streamed(server)
    read_whole(told[-1]["response"])
    for event in told:
        TypeAdapter(ResponseStreamEvent).validate_python(event)
    deltas = [event["delta"] for event in told if event["type"] == "response.output_text.delta"]
    assert ("".join(deltas), len(deltas) > 1) == (ANSWER, True)
    assert told[-1]["type"] == "response.completed"
    assert [event["sequence_number"] for event in told] == [*range(len(told))]
    kinds = list(dict.fromkeys(event["type"].removeprefix("response.") for event in told))
    assert kinds == [
        *("created", "output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
        *("content_part.done", "output_item.done", "completed"),
    ]
    assert told[0]["response"]["id"] == told[-1]["response"]["id"]


@pytest.mark.parametrize("key", ["previous_response_id", "conversation", "prompt"])
def test_what_would_have_to_be_remembered_is_refused(key, server):
    response = server.ask({"input": "What bear?", key: "resp_1"}, PATH)
    assert response.status_code == 400 and "Send all turns as 'input'" in response.json()["error"]["message"]


def test_functions_are_called(save, lm):
    calls = {"tool_calls": [{"name": "look", "args": {"at": "the zoo"}}]}
    lm.models["bears"] = lambda messages, body: Reply(chat_text({"answer": "", "calls": calls}), usage=Usage(10, 5))
    with running(save(dspy.Predict(chatty.Caller))) as server:
        [whole] = server.ask({**ASK, "tools": [LOOK]}, PATH).json()["output"]
        told = streamed(server, tools=[LOOK])
    added, item = [event["item"] for event in told if "item" in event]
    assert added == item
    assert (whole["type"], whole["name"], json.loads(whole["arguments"])) == (
        "function_call",
        "look",
        {"at": "the zoo"},
    )
    assert (item["name"], item["arguments"]) == (whole["name"], whole["arguments"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input": []},
        {"input": 3},
        {"input": [{"role": "user"}]},
        {"input": [{"type": "reasoning"}]},
        {**ASK, "model": 3},
        {**ASK, "stream": "yes"},
        {**ASK, "temperature": "hot"},
        {**ASK, "max_output_tokens": 0},
        {**ASK, "tools": [LOOK]},
        {**ASK, "reasoning": 3},
        {**ASK, "custom_inputs": [1]},
    ],
    ids=repr,
)
def test_a_body_that_means_nothing_is_refused_in_openai_s_form(body, server):
    response = server.ask(body, PATH)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_another_language_model_answers_if_it_is_allowed(save, lm):
    lm.models["pandas"] = lambda messages, body: chat_text({"answer": "the panda"})
    with running(save(dspy.Predict("question -> answer"), allowed_models=["openai/pandas"])) as server:
        told = server.ask({**ASK, "model": "openai/pandas"}, PATH).json()
    assert (told["model"], told["output"][0]["content"][0]["text"]) == ("openai/pandas", "the panda")


def test_an_unknown_model_is_not_found(server):
    response = server.ask({**ASK, "model": "tigers"}, PATH)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_a_server_that_is_told_not_to_trace_does_not(server):
    server.ask(ASK, PATH)
    streamed(server)
    assert mlflow.search_traces(return_type="list") == []

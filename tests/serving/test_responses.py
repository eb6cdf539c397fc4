"""The task agent/v1/responses: a logged program is an MLflow `ResponsesAgent`."""

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest
from mlflow.pyfunc import ResponsesAgent
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations
from mlflow.types.responses import (
    RESPONSES_AGENT_INPUT_SCHEMA,
    RESPONSES_AGENT_OUTPUT_SCHEMA,
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
)
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from mlflow_dspy_plugin.errors import CallError, InputError, ProgramError
from tests.conftest import store  # noqa: F401
from tests.fakes.openai_server import Fault, OpenAIServer, Reply, Usage
from tests.fakes.script import chat_text
from tests.fakes.scripted import HAS_ENGINES
from tests.serving import chatty

ASK = {"role": "user", "content": "What bear?"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
FUNCTION = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
}


def served(program, **options):
    mlflow.dspy.save_model(program, "model", task="agent/v1/responses", **options)
    return mlflow.pyfunc.load_model("model")


def text_of(response) -> str:
    [message] = response["output"]
    [part] = message["content"]
    return part["text"]


def given(program, items, **body):
    """What the program was given for one request."""
    return json.loads(text_of(served(program).predict({"input": items, **body})))


@pytest.fixture
def server():
    def answer(messages, body):
        fields = {"answer": "the black bear", "reasoning": "There is a show."}
        return Reply(chat_text(fields), usage=Usage(10, 5, cached_tokens=4, reasoning_tokens=2))

    with OpenAIServer({"bears": answer}) as running:
        lm = dspy.LM("openai/bears", api_base=running.base_url, num_retries=0, cache=False, temperature=0.5)
        dspy.configure(lm=lm, adapter=dspy.ChatAdapter())
        yield running


# -- what MLflow sees -------------------------------------------------------------------------


def test_it_is_saved_as_mlflow_saves_its_agents():
    served(chatty.Messages())
    model = mlflow.models.Model.load("model")
    assert (model.metadata["task"], model.flavors["dspy"]["inference_task"]) == 2 * ("agent/v1/responses",)
    # Of other types only where MLflow refuses what its own request class or OpenAI takes.
    widened = {"input", "tools", "temperature", "top_p"}
    columns, expected = (
        [(each.name, each.required, each.name in widened or each.type) for each in schema.inputs]
        for schema in (model.signature.inputs, RESPONSES_AGENT_INPUT_SCHEMA)
    )
    assert columns[: len(expected)] == expected
    assert [(name, required) for name, required, _ in columns[len(expected) :]] == [
        ("instructions", False),
        ("status_messages", False),
    ]
    assert model.signature.outputs == RESPONSES_AGENT_OUTPUT_SCHEMA
    assert (model.signature.params, model.flavors["python_function"]["streamable"]) == (None, True)


def test_it_loads_as_an_agent_of_mlflow_s_with_the_program_in_it():
    agent = served(chatty.Messages()).get_raw_model()
    assert isinstance(agent, ResponsesAgent)
    assert isinstance(agent.program, chatty.Messages)


def test_a_signature_of_another_form_is_refused():
    signature = mlflow.models.infer_signature({"question": "x"})
    with pytest.raises(ProgramError, match="one signature, that of MLflow's agents. Leave yours out"):
        served(chatty.Messages(), signature=signature)


# -- in and out -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "question"),
    [
        ([ASK], "What bear?"),
        ([{"type": "message", "role": "developer", "content": "Be brief."}, ASK], "Be brief.\n\nWhat bear?"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "What bear?"}]}], "What bear?"),
        (
            [
                ASK,
                {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "function_call", "id": "f1", "call_id": "c1", "name": "look", "arguments": '{"at": "zoo"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "a bear"},
            ],
            'User: What bear?\n\nAssistant: calls look({"at": "zoo"})\n\nTool: c1 returned a bear',
        ),
    ],
    ids=["message", "developer", "parts", "calls"],
)
def test_the_items_of_the_input_become_the_conversation(items, question):
    assert given(chatty.Text(), items) == {"question": question}


def test_an_answer_can_be_sent_back_as_a_part_of_the_next_input():
    mlflow.dspy.save_model(chatty.Form("prediction"), "first", task="agent/v1/responses")
    output = mlflow.pyfunc.load_model("first").predict({"input": [ASK]})["output"]
    told = given(chatty.Remembering(), [ASK, *output, {"role": "user", "content": "Why?"}])
    assert told == {"question": "Why?", "history": [{"question": "What bear?", "answer": "the black bear"}]}


def test_tools_images_and_custom_inputs_reach_the_inputs_that_are_made_for_them():
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": PIXEL}]
    custom = {"context": "a zoo", "k": 5}
    told = given(chatty.Assistant(), [{"role": "user", "content": parts}], tools=[FUNCTION], custom_inputs=custom)
    assert (told["question"], told["pictures"], told["context"], told["k"]) == ("What is it?", [PIXEL], "a zoo", 5)
    assert told["tools"] == [{"name": "look", "properties": {"at": {"type": "string"}}}]


def test_the_answer_is_a_response_with_what_it_cost_and_the_other_fields_beside(server):
    response = served(dspy.ChainOfThought("question -> answer")).predict({"input": [ASK]})
    read = ResponsesAgentResponse(**response)
    assert (text_of(response), read.custom_outputs) == ("the black bear", {"reasoning": "There is a show."})
    assert (read.model, read.object, read.status) == ("openai/bears", "response", "completed")
    assert read.id.startswith("resp_") and read.created_at > 1_700_000_000
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    }
    json.dumps(response)


def test_calls_of_tools_are_items_of_the_output():
    response = served(chatty.Form("calls")).predict({"input": [ASK]})
    ResponsesAgentResponse(**response)
    [call] = response["output"]
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", "look", '{"at": 1}')
    assert call["call_id"]


def test_an_answer_that_was_cut_is_incomplete(server):
    server.models["bears"] = lambda messages, body: Reply(chat_text({"answer": "the"}), finish_reason="length")
    response = served(dspy.Predict("question -> answer")).predict({"input": [ASK]})
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response["output"][0]["status"] == "incomplete"


def test_options_hold_for_that_request_alone(server):
    model = served(dspy.Predict("question -> answer"))
    model.predict({"input": [ASK], "temperature": 1, "max_output_tokens": 7, "top_p": 0.2})
    model.predict({"input": [ASK]})
    first, second = (request.body for request in server.requests)
    assert (first["temperature"], first["top_p"], second["temperature"]) == (1, 0.2, 0.5)
    assert first.get("max_tokens", first.get("max_completion_tokens")) == 7
    assert "top_p" not in second


def test_a_stream_gives_the_text_as_it_comes_then_the_items_and_then_the_whole(server):
    server.models["bears"] = lambda messages, body: chat_text({"answer": "the black bear " * 9 + "end"})
    events = list(served(dspy.Predict("question -> answer")).predict_stream({"input": [ASK]}))
    for event in events:
        ResponsesAgentStreamEvent(**event)
    *deltas, item, whole = events
    assert {event["type"] for event in deltas} == {"response.output_text.delta"}
    assert len(deltas) > 3
    text = item["item"]["content"][0]["text"]
    assert "".join(event["delta"] for event in deltas).rstrip() == text == "the black bear " * 9 + "end"
    assert {event["item_id"] for event in deltas} == {item["item"]["id"]}
    assert [event["type"] for event in (item, whole)] == ["response.output_item.done", "response.completed"]
    assert whole["response"]["output"] == [item["item"]]
    # Before 3.4, DSPy does not ask for the usage of streams.
    assert whole["response"]["usage"]["total_tokens"] > 0 or not HAS_ENGINES


def test_requests_at_once_are_answered_each_with_its_own(server):
    server.latency = 0.02
    model = served(dspy.Predict("question -> answer"))
    server.models["bears"] = lambda messages, body: chat_text({"answer": number_in(messages)})

    def ask(number):
        return text_of(model.predict({"input": [{"role": "user", "content": f"no {number} no"}]}))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [str(number) for number in range(16)]


def number_in(messages) -> str:
    return messages[-1]["content"].split("no ")[1].split(" no")[0]


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": []}, "The 'input' of the request says nothing"),
        ({"input": [{"role": "robot", "content": "x"}]}, "The request is none that an agent takes .*robot"),
        ({"input": [{"role": "user"}]}, "The request is none that an agent takes"),
        ({"input": [{"role": "user", "content": ""}]}, "Message 0 .* has no text"),
        ({"input": ["What?"]}, "The request is none that an agent takes"),
        (
            {"input": [ASK, {"type": "web_search_call", "id": "w"}]},
            "Item 1 of 'input' is of the type 'web_search_call'",
        ),
        ({"input": [ASK], "tools": [FUNCTION]}, "offers tools, but the program has no input"),
        ({"input": [ASK], "custom_inputs": {"colour": "red"}}, "'custom_inputs' has \\['colour'\\]"),
        ({"input": [ASK], "max_output_tokens": 0}, "'max_tokens' is 0"),
    ],
    ids=str,
)
def test_what_cannot_be_answered_is_refused_with_what_to_do(body, words):
    with pytest.raises(InputError, match=words) as raised:
        served(chatty.Text()).predict(body)
    assert raised.value.get_http_status_code() == 400


def test_what_the_language_model_fails_with_is_told(server):
    model = served(dspy.Predict("question -> answer"))
    server.models["bears"] = lambda messages, body: Fault(429)
    with pytest.raises(CallError, match="takes no more requests now"):
        model.predict({"input": [ASK]})
    with pytest.raises(CallError, match="takes no more requests now"):
        list(model.predict_stream({"input": [ASK]}))


# -- as OpenAI has them -----------------------------------------------------------------------


def read_whole(response):
    """A response as OpenAI's own types have it."""
    if details := response.get("usage", {}).get("input_tokens_details"):
        # Newer releases of OpenAI's know it; MLflow's class drops it.
        details.setdefault("cache_write_tokens", 0)
    return Response.model_validate(response)


@pytest.mark.parametrize("body", [{}, {"tools": [FUNCTION], "tool_choice": "auto"}], ids=["plain", "tools"])
def test_a_response_is_one_of_openai_s(body, server):
    program = dspy.Predict(chatty.Caller) if body else dspy.Predict("question -> answer")
    server.models["bears"] = lambda messages, body: chat_text({"answer": "bear", "calls": {"tool_calls": []}})
    read = read_whole(served(program).predict({"input": [ASK], **body}))
    assert read.output_text == "bear"
    assert [tool.name for tool in read.tools] == ["look"] * bool(body)


@pytest.mark.parametrize(("reason", "status"), [("stop", "completed"), ("length", "incomplete")])
def test_a_stream_is_of_events_of_openai_s(reason, status, server):
    server.models["bears"] = lambda messages, body: Reply(
        chat_text({"answer": "the black bear " * 9 + "end"}), finish_reason=reason
    )
    events = list(served(dspy.Predict("question -> answer")).predict_stream({"input": [ASK]}))
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    read_whole(events[-1]["response"])
    *deltas, item, last = (TypeAdapter(ResponseStreamEvent).validate_python(event) for event in events)
    assert {delta.type for delta in deltas} == {"response.output_text.delta"}
    assert (last.type, last.response.status, item.item.status) == (f"response.{status}", status, status)


def test_a_stream_that_only_calls_tools_has_no_text():
    events = list(served(chatty.Form("calls")).predict_stream({"input": [ASK]}))
    assert [event["type"] for event in events] == ["response.output_item.done", "response.completed"]


@pytest.mark.parametrize("way", ["predict", "over HTTP"])
def test_an_input_may_be_a_text_after_instructions(way):
    model, body = served(chatty.Text()), {"input": "What bear?", "instructions": "Be brief."}
    if way == "over HTTP":
        answer = invocations(json.dumps(body), CONTENT_TYPE_JSON, model, model.metadata.get_input_schema())
        response = json.loads(answer.response)
    else:
        response = model.predict(body)
    assert json.loads(text_of(response)) == {"question": "Be brief.\n\nWhat bear?"}


def test_the_effort_of_reasoning_reaches_the_language_model(server):
    served(dspy.Predict("question -> answer")).predict({"input": [ASK], "reasoning": {"effort": "low"}})
    assert server.requests[-1].body["reasoning_effort"] == "low"


@pytest.mark.parametrize("asked", [True, None])
def test_messages_of_tools_are_events_where_they_are_asked_for(asked, server):
    answers = chatty.looking("the black bear")
    server.models["bears"] = lambda messages, body: chat_text(next(answers))
    model = served(dspy.ReAct("question -> answer", tools=[chatty.look]), infer_code_paths=False)
    events = list(model.predict_stream({"input": [ASK], "status_messages": asked}))
    told = [event for event in events if event["type"] == "response.status"]
    assert bool(told) == bool(asked)
    assert all(event["status"] for event in told)
    assert events[-1]["type"] == "response.completed"


# -- served and traced ------------------------------------------------------------------------


def test_mlflow_s_server_takes_a_request_as_a_client_of_responses_sends_it(server):
    model = served(dspy.Predict("question -> answer"))
    response = invocations(json.dumps({"input": [ASK]}), CONTENT_TYPE_JSON, model, model.metadata.get_input_schema())
    assert (response.status, text_of(json.loads(response.response))) == (200, "the black bear")


def test_a_call_is_one_trace_of_the_agent_with_the_program_below(server, traces):
    model = served(dspy.Predict("question -> answer"))
    mlflow.dspy.autolog()
    context = {"conversation_id": "talk-1", "user_id": "ada"}
    model.predict({"input": [ASK], "context": context})
    [trace] = traces()
    root, *below = trace.data.spans
    assert (root.span_type, root.parent_id) == ("AGENT", None)
    assert "Predict.forward" in {span.name for span in below}
    assert trace.info.trace_metadata["mlflow.trace.session"] == "talk-1"
    assert trace.info.trace_metadata["mlflow.trace.user"] == "ada"


@pytest.mark.parametrize("way", ["left", "cancelled"])
def test_a_stream_that_is_cut_is_a_trace_that_says_so(way, server, traces):
    agent = served(dspy.Predict("question -> answer")).get_raw_model()
    mlflow.dspy.autolog()

    async def take_one() -> None:
        events = agent.apredict_stream(ResponsesAgentRequest(input=[ASK]))
        await events.__anext__()
        server.chunk_latency = 30.0
        if way == "left":
            await events.aclose()
        else:
            waiting = asyncio.ensure_future(collected(events))
            await asyncio.sleep(0.2)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    async def collected(events) -> list:
        return [event async for event in events]

    server.chunk_latency = 0.05
    asyncio.run(take_one())
    [trace] = traces()
    assert trace.info.state == "ERROR"
    assert "nobody waited for it" in str(trace.data.spans[0].events[-1].attributes)


def test_it_loads_in_a_fresh_process():
    served(chatty.Messages())
    code = (
        "import mlflow; from mlflow.pyfunc import ResponsesAgent;"
        "model = mlflow.pyfunc.load_model('model'); assert isinstance(model.get_raw_model(), ResponsesAgent);"
        "print(model.predict({'input': [{'role': 'user', 'content': 'hi'}]})['output'][0]['content'][0]['text'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [{"role": "user", "content": "hi"}]

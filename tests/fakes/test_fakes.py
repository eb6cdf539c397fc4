"""The fakes seen through real DSPy: nothing is patched, and what a provider would do, they do."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import cloudpickle
import dspy
import pytest

from tests.fakes.chat import Body, Messages
from tests.fakes.openai_server import BUILT_IN, Fault, OpenAIServer, Reply, ToolCalls, Usage
from tests.fakes.script import chat_text
from tests.fakes.scripted import HAS_ENGINES, Answer, scripted_lm

ROOT = Path(__file__).parents[2]
KEY = "test-key"
UNKNOWN_ERROR = getattr(dspy, "LMUnexpectedError", ValueError)


@pytest.fixture
def memory_cache() -> Iterator[None]:
    """DSPy's cache in memory, which is off in every other test."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    yield
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


def capital(messages: Messages, body: Body) -> str:
    """Answer a question for one field, `answer`."""
    return chat_text({"answer": "Rome of Italy"})


def buggy(messages: Messages, body: Body) -> str:
    """Fail as a scripted model with a mistake does."""
    raise ZeroDivisionError("division by zero")


MODELS = {
    "capital": capital,
    "buggy": buggy,
    "unauthorized": lambda messages, body: Fault(401),
    "limited": lambda messages, body: Fault(429, retry_after=2),
    "broken": lambda messages, body: Fault(500),
    "cut": lambda messages, body: Reply(capital(messages, body), cut=True),
    "unwritable": lambda messages, body: ToolCalls([("weather", {"city": object()})]),
    "measured": lambda messages, body: Reply("text", Usage(100, 20, cached_tokens=64, reasoning_tokens=7)),
    "planner": lambda messages, body: ToolCalls(
        [("weather", {"city": "Rome of Italy"}), ("weather", {"city": "Oslo"})]
    ),
}
MODELS["gpt-4o-mini"] = MODELS["planner"]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(MODELS) as server:
        yield server


def remote_lm(server: OpenAIServer, model: str) -> dspy.LM:
    return dspy.LM(f"openai/{model}", api_base=server.base_url, api_key=KEY, cache=False, num_retries=0)


def send(
    server: OpenAIServer, method: str, path: str, body: bytes | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Exchange one raw request on a connection of its own."""
    connection = http.client.HTTPConnection(server.base_url.split("/")[2], timeout=5)
    connection.request(method, path, body)
    response = connection.getresponse()
    status, headers, content = response.status, response.headers, response.read()
    connection.close()
    return status, headers, content


def chat_body(model: str, **options: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "a b"}], **options}).encode()


def figure(details: Any, name: str) -> int:
    """Read a detail of `usage`: a dict since DSPy 3.4, an object of LiteLLM before."""
    return details[name] if isinstance(details, dict) else getattr(details, name)


async def streamed(lm: dspy.LM) -> list[Any]:
    program = dspy.streamify(
        dspy.Predict("question -> answer"), stream_listeners=[dspy.streaming.StreamListener("answer")]
    )
    with dspy.context(lm=lm):
        return [item async for item in program(question="?")]


class TestScriptedLM:
    def test_predict_reads_a_dict_as_output_fields_and_the_last_answer_repeats(self):
        with dspy.context(lm=scripted_lm([{"answer": "Rome", "count": 3}, {"answer": "Oslo", "count": 4}])):
            predictions = [dspy.Predict("question -> answer, count: int")(question="?") for _ in range(3)]
        assert [dict(prediction) for prediction in predictions] == [
            {"answer": "Rome", "count": 3},
            {"answer": "Oslo", "count": 4},
            {"answer": "Oslo", "count": 4},
        ]

    def test_chain_of_thought_gets_its_reasoning(self):
        with dspy.context(lm=scripted_lm([{"reasoning": "It is known.", "answer": "Rome"}])):
            prediction = dspy.ChainOfThought("question -> answer")(question="?")
        assert (prediction.reasoning, prediction.answer) == ("It is known.", "Rome")

    def test_a_function_computes_the_answer_from_the_messages(self):
        lm = scripted_lm(lambda messages: messages[-1]["content"].upper())
        assert (lm("hello"), asyncio.run(lm.acall("again"))) == (["HELLO"], ["AGAIN"])

    def test_requests_are_recorded_as_messages(self):
        lm = scripted_lm(["text"])
        lm("hello")
        with dspy.context(lm=lm.copy()), pytest.raises(Exception, match="answer"):
            dspy.Predict("question -> answer")(question="Where?")
        assert lm.script.requests[0] == [{"role": "user", "content": "hello"}]
        assert [message["role"] for message in lm.script.requests[1]] == ["system", "user"]
        assert "Where?" in lm.script.requests[1][1]["content"]

    @pytest.mark.parametrize("error", [ValueError("no answer today"), Answer(ValueError("no answer today"))])
    def test_an_exception_is_raised(self, error):
        lm = scripted_lm([error, "text"])
        with pytest.raises(UNKNOWN_ERROR, match="no answer today"):
            lm("hello")
        assert lm("hello") == ["text"]

    def test_an_exception_class_is_raised(self):
        with pytest.raises(UNKNOWN_ERROR, match=r"scripted/model|^$"):
            scripted_lm([ValueError])("hello")

    def test_usage_is_reported(self):
        lm = scripted_lm(["text", Answer("text", usage=Usage(100, 20, cached_tokens=64, reasoning_tokens=7))])
        lm("hello")
        assert (lm.history[-1]["usage"]["prompt_tokens"], lm.history[-1]["usage"]["completion_tokens"]) == (
            10,
            5,
        )
        lm("hello")
        usage = lm.history[-1]["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (100, 20, 120)
        assert figure(usage["prompt_tokens_details"], "cached_tokens") == 64
        assert figure(usage["completion_tokens_details"], "reasoning_tokens") == 7

    def test_an_answer_can_take_its_time(self):
        lm, start = scripted_lm([Answer("text", latency=0.2)]), time.perf_counter()
        lm("hello")
        asyncio.run(lm.acall("hello"))
        assert 0.4 <= time.perf_counter() - start < 1.5

    def test_every_candidate_takes_an_answer(self):
        assert scripted_lm(["one", "two"])("hello", n=2) == ["one", "two"]

    def test_cache_is_that_of_dspy(self, memory_cache):
        lm = scripted_lm(["one", "two"], cache=True)
        fresh = f"never asked before: {time.time_ns()}"
        assert (lm(fresh), lm(fresh), len(lm.script.requests)) == (["one"], ["one"], 1)

    def test_it_streams(self):
        *parts, prediction = asyncio.run(streamed(scripted_lm([{"answer": "Rome of Italy"}])))
        assert "".join(part.chunk for part in parts).strip() == prediction.answer == "Rome of Italy"

    def test_a_pickled_copy_follows_its_own_script(self):
        lm = scripted_lm(["one", {"answer": "two"}])
        lm("hello")
        twin = cloudpickle.loads(cloudpickle.dumps(lm))
        assert twin("hello") == lm("hello") == ["[[ ## answer ## ]]\ntwo\n\n[[ ## completed ## ]]"]
        assert (len(twin.script.requests), len(lm.script.requests)) == (2, 2)

    def test_64_threads_each_get_one_answer(self):
        lm = scripted_lm([f"text {index}" for index in range(256)])
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda _: lm("hello")[0], range(256)))
        assert sorted(answers) == sorted(f"text {index}" for index in range(256))

    def test_it_uses_nothing_deprecated(self):
        with warnings.catch_warnings(), dspy.context(lm=scripted_lm([{"answer": "Rome"}])):
            warnings.simplefilter("error", DeprecationWarning)
            assert dspy.Predict("question -> answer")(question="?").answer == "Rome"
            assert asyncio.run(dspy.Predict("question -> answer").acall(question="?")).answer == "Rome"

    def test_it_needs_an_answer(self):
        with pytest.raises(ValueError, match="at least one answer"):
            scripted_lm([])


class TestOpenAIServerThroughDspy:
    def test_echo_answers_sync_and_async(self, server):
        lm = remote_lm(server, "echo")
        assert (lm("hello"), asyncio.run(lm.acall("again"))) == (["hello"], ["again"])
        assert (server.request_count, len(server.requests)) == (2, 2)
        assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
        assert server.requests[-1].body["messages"] == [{"role": "user", "content": "again"}]

    def test_usage_details_reach_the_history(self, server):
        lm = remote_lm(server, "measured")
        lm("hello")
        usage = lm.history[-1]["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (100, 20, 120)
        assert figure(usage["prompt_tokens_details"], "cached_tokens") == 64
        assert figure(usage["completion_tokens_details"], "reasoning_tokens") == 7

    def test_every_candidate_is_a_choice(self, server):
        assert remote_lm(server, "echo")("hello", n=3) == ["hello"] * 3

    def test_it_streams_through_streamify(self, server):
        server.chunk_latency, start = 0.02, time.perf_counter()
        *parts, prediction = asyncio.run(streamed(remote_lm(server, "capital")))
        assert "".join(part.chunk for part in parts).strip() == prediction.answer == "Rome of Italy"
        assert time.perf_counter() - start > 10 * server.chunk_latency
        assert server.requests[-1].body["stream"] is True

    @pytest.mark.parametrize("model", ["planner", "gpt-4o-mini"])
    def test_tool_calls_arrive_and_tools_are_sent_to_a_model_known_to_take_them(self, server, model):
        if model == "gpt-4o-mini" and not HAS_ENGINES:
            # LiteLLM imports this to send any tools, and fails where the installed mcp is older than it expects.
            pytest.importorskip("litellm.responses.mcp.chat_completions_handler", exc_type=ImportError)

        def weather(city: str) -> str:
            """Tell the weather of a city."""
            return city

        class Plan(dspy.Signature):
            """Plan."""

            question: str = dspy.InputField()
            tools: list[dspy.Tool] = dspy.InputField()
            calls: dspy.ToolCalls = dspy.OutputField()

        adapter = dspy.ChatAdapter(use_native_function_calling=True)
        with dspy.context(lm=remote_lm(server, model), adapter=adapter):
            prediction = dspy.Predict(Plan)(question="?", tools=[dspy.Tool(weather)])
        assert [(call.name, call.args) for call in prediction.calls.tool_calls] == [
            ("weather", {"city": "Rome of Italy"}),
            ("weather", {"city": "Oslo"}),
        ]
        tools = [tool["function"]["name"] for tool in server.requests[-1].body.get("tools", ())]
        assert tools == ([] if model == "planner" else ["weather"])

    @pytest.mark.parametrize(
        ("model", "error", "message"),
        [
            (
                "unauthorized",
                "LMAuthError" if HAS_ENGINES else "AuthenticationError",
                f"Incorrect API key provided: {KEY}",
            ),
            (
                "limited",
                "LMRateLimitError" if HAS_ENGINES else "RateLimitError",
                "Rate limit reached for limited",
            ),
            ("broken", "LMServerError" if HAS_ENGINES else "InternalServerError", "The server had an error"),
            (
                "buggy",
                "LMServerError" if HAS_ENGINES else "InternalServerError",
                "The model failed: ZeroDivisionError",
            ),
            (
                "cut",
                "LMTransportError" if HAS_ENGINES else "InternalServerError",
                "body bytes outstanding|Connection error",
            ),
            (
                "absent",
                "LMUnsupportedModelError" if HAS_ENGINES else "NotFoundError",
                "The model `absent` does not exist",
            ),
        ],
    )
    def test_a_fault_is_the_error_dspy_raises_for_a_provider(self, server, model, error, message):
        lm = remote_lm(server, model)
        with pytest.raises(Exception, match=message) as caught:
            lm("hello")
        with pytest.raises(Exception, match=message):
            asyncio.run(lm.acall("hello"))
        assert (type(caught.value).__name__, server.request_count) == (error, 2)

    def test_a_stream_can_break_off(self, server):
        with pytest.raises(BaseException, match=r"TaskGroup|connection closed mid-chunk"):
            asyncio.run(streamed(remote_lm(server, "cut")))

    def test_latency_is_what_was_set(self, server):
        lm = remote_lm(server, "echo")
        lm("warm up")
        server.latency, start = 0.3, time.perf_counter()
        lm("hello")
        assert 0.3 <= time.perf_counter() - start < 1

    def test_64_threads_wait_at_the_same_time(self, server):
        lm = remote_lm(server, "echo")
        lm("warm up")
        server.latency, start = 0.2, time.perf_counter()
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda index: lm(f"hello {index}")[0], range(128)))
        assert answers == [f"hello {index}" for index in range(128)]
        assert time.perf_counter() - start < 128 * server.latency / 4

    def test_a_connection_carries_many_calls(self, server):
        lm = remote_lm(server, "echo")
        for _ in range(5):
            lm("hello")
        assert server.connection_count == 1


class TestOpenAIServerProtocol:
    def test_a_connection_survives_errors(self, server):
        connection = http.client.HTTPConnection(server.base_url.split("/")[2], timeout=5)
        statuses = []
        for model in ("echo", "broken", "absent", "unwritable", "echo"):
            connection.request("POST", "/v1/chat/completions", chat_body(model))
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()
        assert (statuses, server.connection_count) == ([200, 500, 404, 500, 200], 1)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"{bad", "could not parse the JSON"),
            (b"[" * 100_000, "could not parse the JSON"),
            (b"\xff", "could not parse the JSON"),
            (b"[]", "model parameter"),
            (b'{"model": "echo"}', "'messages'"),
            (chat_body("echo", n=0.5), "'n'"),
            (chat_body("echo", stream_options="all"), "'stream_options'"),
        ],
    )
    def test_a_body_that_is_no_request_gets_400(self, server, body, message):
        status, _, content = send(server, "POST", "/v1/chat/completions", body)
        error = json.loads(content)["error"]
        assert (status, error["type"]) == (400, "invalid_request_error")
        assert message in error["message"]

    def test_an_unknown_path_gets_404_and_head_no_body(self, server):
        assert [send(server, *request)[0] for request in [("GET", "/"), ("POST", "/v1/embeddings")]] == [
            404,
            404,
        ]
        assert send(server, "HEAD", "/v1/models")[::2] == (404, b"")

    def test_a_rate_limit_says_when_to_retry(self, server):
        status, headers, content = send(server, "POST", "/chat/completions", chat_body("limited"))
        assert (status, headers["Retry-After"]) == (429, "2")
        assert json.loads(content)["error"]["code"] == "rate_limit_exceeded"

    def test_text_completions_and_responses_are_answered(self, server):
        text = send(server, "POST", "/v1/completions", json.dumps({"model": "echo", "prompt": "hello"}).encode())
        whole = send(server, "POST", "/v1/responses", json.dumps({"model": "echo", "input": "hello"}).encode())
        assert json.loads(text[2])["choices"][0]["text"] == "hello"
        [item] = json.loads(whole[2])["output"]
        assert item["content"][0]["text"] == "hello"

    def test_models_are_listed(self, server):
        status, _, content = send(server, "GET", "/v1/models")
        assert (status, {model["id"] for model in json.loads(content)["data"]}) == (200, {"echo", *MODELS})

    def test_streamed_tool_calls_join_to_the_whole_ones(self, server):
        body = chat_body("planner", stream=True, stream_options={"include_usage": True})
        _, headers, content = send(server, "POST", "/v1/chat/completions", body)
        *events, last = [line.removeprefix("data: ") for line in content.decode().split("\n\n") if line]
        *chunks, closing = map(json.loads, events)
        arguments = ["", ""]
        for chunk in chunks:
            for call in chunk["choices"][0]["delta"].get("tool_calls", ()):
                arguments[call["index"]] += call["function"]["arguments"]
        assert headers["Content-Type"].startswith("text/event-stream")
        assert [json.loads(text) for text in arguments] == [{"city": "Rome of Italy"}, {"city": "Oslo"}]
        assert (chunks[-1]["choices"][0]["finish_reason"], closing["choices"], last) == (
            "tool_calls",
            [],
            "[DONE]",
        )
        assert (
            closing["usage"]["total_tokens"]
            == closing["usage"]["prompt_tokens"] + closing["usage"]["completion_tokens"]
        )

    @pytest.mark.parametrize(
        "raw", [b"nonsense\r\n\r\n", b"x" * 70_000, b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n"]
    )
    def test_what_is_not_http_gets_400_and_the_server_lives(self, server, raw):
        connection = http.client.HTTPConnection(server.base_url.split("/")[2], timeout=5)
        connection.connect()
        connection.sock.sendall(raw)
        assert b" 400 " in connection.sock.recv(100)
        connection.close()
        assert send(server, "POST", "/v1/chat/completions", chat_body("echo"))[0] == 200


def answer_of_process(*arguments: str, body: bytes) -> str:
    """Run the server as a process, ask it once, end it with SIGTERM and return the text of its answer."""
    command = [sys.executable, "-m", "tests.fakes.openai_server", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            with build_opener(ProxyHandler({})).open(f"{url}/chat/completions", body, timeout=5) as response:
                content = json.load(response)["choices"][0]["message"]["content"]
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    return content


def test_the_server_runs_as_a_process_and_ends_on_sigterm():
    start = time.perf_counter()
    assert answer_of_process("--latency", "0.2", "--model", "echo", body=chat_body("echo")) == "a b"
    assert time.perf_counter() - start > 0.2


def test_the_quickstart_classifier_can_be_served():
    pytest.importorskip("mlflow_dspy_plugin.quickstart.classifier")
    models = {"in-context-classifier": BUILT_IN["in-context-classifier"]()}
    with OpenAIServer(models) as server, dspy.context(lm=remote_lm(server, "in-context-classifier")):
        prediction = dspy.Predict("text -> label: Literal['sport', 'music']")(text="The sport of kings")
    assert prediction.label == "sport"

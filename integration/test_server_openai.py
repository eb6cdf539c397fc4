"""The official `openai` client against a real process: chat, streams, tools, responses, errors and keys."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dspy
import mlflow
import openai
import pytest

from integration.processes import PYTHON, Process, answers, free_port, running
from tests.fakes.openai_server import Fault, OpenAIServer, Reply, Usage
from tests.fakes.script import chat_text
from tests.serving import chatty

KEYS = ("sk-integration-old-1", "sk-integration-new-2")
ANSWER = "the black bear of the north"
ASK = [{"role": "user", "content": "What bear?"}]
LOOK = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}


def bears(messages, body):
    """Answers, fails or calls a tool, as the question says."""
    question = messages[-1]["content"]
    if "FAIL" in question:
        return Fault(int(question.partition("FAIL ")[2][:3]))
    calls = [{"name": "look", "args": {"at": "the zoo"}}] if "LOOK" in question and "returned" not in question else []
    fields = {
        "answer": "" if calls else ANSWER,
        **({"calls": {"tool_calls": calls}} if "calls" in str(messages[0]) else {}),
    }
    return Reply(chat_text(fields), usage=Usage(10, 5))


@pytest.fixture(scope="module")
def lm() -> Iterator[OpenAIServer]:
    """The language model behind the models."""
    with OpenAIServer({"bears": bears}) as server:
        yield server


@pytest.fixture(scope="module")
def models(lm, tmp_path_factory) -> dict[str, Path]:
    """The folders of two models, by the names they are served under."""
    folder = tmp_path_factory.mktemp("models")
    programs = {"qa": dspy.Predict("question -> answer"), "caller": dspy.Predict(chatty.Caller)}
    with dspy.context(lm=dspy.LM("openai/bears", api_base=lm.base_url, cache=False, num_retries=0)):
        for name, program in programs.items():
            mlflow.dspy.save_model(program, folder / name)
    return {name: folder / name for name in programs}


@pytest.fixture(scope="module")
def server(models, environment, tmp_path_factory) -> Iterator[tuple[Process, str]]:
    """A process that serves them to whoever has one of two keys, and its address."""
    port = free_port()
    command = [PYTHON, "-m", "uvicorn", "--factory", "mlflow_dspy_plugin.server.app:from_environment", "--port", port]
    told = {
        "MLFLOW_DSPY_SERVER_MODELS": ",".join(f"{name}={folder}" for name, folder in models.items()),
        "MLFLOW_DSPY_API_KEYS": ",".join(KEYS),
        "MLFLOW_DSPY_SERVER_TRACING": "false",
        "MLFLOW_DSPY_SERVER_CONCURRENCY": "64",
    }
    with running(command, tmp_path_factory.mktemp("server"), environment={**environment, **told}) as process:
        url = f"http://127.0.0.1:{port}"
        process.wait_until(lambda: answers(f"{url}/ping"), "answered /ping", 90)
        yield process, url


def client_of(server: tuple[Process, str], key: str = KEYS[0], **options) -> openai.OpenAI:
    """OpenAI's own client."""
    return openai.OpenAI(base_url=f"{server[1]}/v1", api_key=key, **{"max_retries": 0, "timeout": 30, **options})


@pytest.fixture
def client(server) -> openai.OpenAI:
    return client_of(server)


def test_it_chats(client):
    completion = client.chat.completions.create(model="qa", messages=ASK)
    assert (completion.choices[0].message.content, completion.choices[0].finish_reason) == (ANSWER, "stop")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (10, 5)


def test_it_streams_a_chat_with_its_usage(client):
    chunks = [
        *client.chat.completions.create(model="qa", messages=ASK, stream=True, stream_options={"include_usage": True})
    ]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 15)
    assert len(chunks) > 4


def test_its_helper_for_streams_adds_them_up(client):
    with client.chat.completions.stream(model="qa", messages=ASK) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def test_tools_are_offered_and_called(client):
    tools = [{"type": "function", "function": {"name": "look", "description": "Look.", "parameters": LOOK}}]
    asked = [{"role": "user", "content": "LOOK for a bear"}]
    choice = client.chat.completions.create(model="caller", messages=asked, tools=tools).choices[0]
    [call] = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name, json.loads(call.function.arguments)) == (
        "tool_calls",
        "look",
        {"at": "the zoo"},
    )
    then = [*asked, choice.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "a bear"}]
    then.append({"role": "user", "content": "Well?"})
    with client.chat.completions.stream(model="caller", messages=asked, tools=tools) as stream:
        for _ in stream:
            pass
        [streamed] = stream.get_final_completion().choices[0].message.tool_calls
    assert (streamed.function.name, streamed.function.arguments) == (call.function.name, call.function.arguments)
    assert client.chat.completions.create(model="caller", messages=then, tools=tools).choices[0].message.content


def test_it_responds_whole_and_as_a_stream(client):
    response = client.responses.create(model="qa", input="What bear?")
    events = [*client.responses.create(model="qa", input="What bear?", stream=True)]
    assert (response.output_text, response.usage.output_tokens) == (ANSWER, 5)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    assert events[-1].response.output_text == ANSWER


def test_the_client_s_own_account_of_a_streamed_response_is_whole(client):
    with client.responses.stream(model="qa", input="What bear?") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == ANSWER
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


def test_it_lists_the_models(client):
    assert [model.id for model in client.models.list()] == ["qa", "caller"]
    assert client.models.retrieve("caller").id == "caller"


def test_each_key_may_call_and_no_other(server):
    assert all(client_of(server, key).models.list().data for key in KEYS)
    with pytest.raises(openai.AuthenticationError) as raised:
        client_of(server, "sk-integration-wrong").chat.completions.create(model="qa", messages=ASK)
    assert raised.value.code == "invalid_api_key"
    assert "sk-integration" not in str(raised.value)


@pytest.mark.parametrize(
    ("question", "kind", "status"),
    [
        ("FAIL 401", openai.InternalServerError, 502),
        ("FAIL 429", openai.RateLimitError, 429),
        ("FAIL 500", openai.InternalServerError, 503),
        ("FAIL 400", openai.BadRequestError, 400),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_language_model_refuses_is_an_error_of_the_client_s(question, kind, status, stream, client):
    with pytest.raises(kind) as raised:
        client.chat.completions.create(model="qa", messages=[{"role": "user", "content": question}], stream=stream)
    assert (raised.value.status_code, raised.value.request_id is not None) == (status, True)


def test_what_is_no_request_is_an_error_of_the_client_s(client):
    with pytest.raises(openai.NotFoundError, match="'tigers' is none of the models") as raised:
        client.chat.completions.create(model="tigers", messages=ASK)
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="'temperature' is 'hot'"):
        client.chat.completions.create(model="qa", messages=ASK, temperature="hot")
    with pytest.raises(openai.BadRequestError, match="no input of type"):
        client.responses.create(model="qa", input="x", tools=[{"type": "function", "name": "look", "parameters": LOOK}])


def test_a_stream_that_breaks_off_is_an_error_of_the_client_s(client, lm):
    lm.models["bears"] = lambda messages, body: Reply(chat_text({"answer": "one two three four five six"}), cut=True)
    try:
        stream = client.chat.completions.create(model="qa", messages=ASK, stream=True)
        with pytest.raises(openai.APIError, match="The language model"):
            for _ in stream:
                pass
    finally:
        lm.models["bears"] = bears


def test_two_hundred_streams_run_at_once(server):
    client = client_of(server, max_retries=2, timeout=60)

    def streamed(_: int) -> str:
        chunks = client.chat.completions.create(model="qa", messages=ASK, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with ThreadPoolExecutor(200) as clients:
        assert set(clients.map(streamed, range(200))) == {ANSWER}


def test_nothing_of_a_key_is_in_the_server_s_log(server):
    process, _ = server
    assert not any(secret in process.stdout + process.stderr for secret in (*KEYS, "sk-integration-canary"))

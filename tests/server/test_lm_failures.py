"""What goes wrong behind a model: a status that fits, a form that clients know, and nothing that they may not know."""

import json
from pathlib import Path

import dspy
import pytest

from tests.fakes.openai_server import Fault, Reply
from tests.fakes.script import chat_text
from tests.server import programs
from tests.server.conftest import ANSWER, language_model
from tests.server.running import events, running, wait_until

KEY = "sk-server-canary-0a1b2c3d4e5f60718293"
CHAT = {"messages": [{"role": "user", "content": "What bear?"}]}
BODIES = {"/invocations": {"inputs": {"question": "What bear?"}}, "/v1/chat/completions": CHAT, "/v1/responses": {"input": "What bear?"}}  # fmt: skip
# What the language model answers -> the status, OpenAI's type, MLflow's code.
FAULTS = {
    "401": (Fault(401, "Incorrect API key provided: {key}"), 502, "server_error", "UNAUTHENTICATED"),
    "429": (Fault(429), 429, "rate_limit_error", "REQUEST_LIMIT_EXCEEDED"),
    "500": (Fault(500), 503, "server_error", "TEMPORARILY_UNAVAILABLE"),
    "400": (Fault(400, "too long"), 400, "invalid_request_error", "BAD_REQUEST"),
}


@pytest.fixture(autouse=True, scope="module")
def key():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        yield


def check(response, status: int, kind: str, code: str) -> None:
    assert response.status_code == status, response.text
    told = response.json()
    if "error" in told:
        assert told["error"]["type"] == kind
    else:
        assert told["error_code"] == code
    # The program has run, and may have done what is not to be done twice.
    assert "retry-after" not in response.headers
    assert not any(
        word in response.text for word in (KEY, "Traceback", str(Path(__file__).parents[2]), "site-packages")
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_provider_refuses_has_its_status_in_a_stream_too(fault, path, stream, shared):
    lm, server = shared
    lm.models["bears"] = lambda messages, body: FAULTS[fault][0]
    check(server.ask({**BODIES[path], "stream": stream}, path), *FAULTS[fault][1:])
    wait_until(lambda: server.running == 0)


@pytest.mark.parametrize("path", BODIES)
def test_a_language_model_that_is_gone_is_unavailable_until_it_is_back(path, qa, lm):
    model, lm.models["bears"] = lm.models["bears"], lambda messages, body: Reply("half an answer", cut=True)
    with running(qa) as server:
        check(server.ask(BODIES[path], path), 503, "server_error", "TEMPORARILY_UNAVAILABLE")
        lm.models["bears"] = model
        assert ANSWER in server.ask(BODIES[path], path).text


@pytest.mark.parametrize("path", BODIES)
def test_a_language_model_that_is_silent_for_too_long_is_a_timeout(path, save, lm):
    dspy.configure(lm=language_model(lm, timeout=0.3))
    lm.latency = 5.0
    with running(save(dspy.Predict("question -> answer"))) as server:
        check(server.ask(BODIES[path], path), 504, "server_error", "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("path", BODIES)
def test_a_stream_that_breaks_off_ends_in_an_event_that_says_so(path, qa, lm):
    lm.models["bears"] = lambda messages, body: Reply(chat_text({"answer": "one two three four five six"}), cut=True)
    with running(qa) as server:
        response = server.ask({**BODIES[path], "stream": True}, path)
        *told, last = events(response)
    error = json.loads(last)
    assert (response.status_code, set(error)) == (200, {"error"})
    assert error["error"]["message"].startswith("The language model")
    assert any("one" in each for each in told)
    assert "[DONE]" not in told


@pytest.mark.parametrize("path", BODIES)
def test_what_a_program_raises_is_its_own_fault_and_tells_no_path_and_no_key(path, save, caplog):
    with running(save(programs.Failing())) as server:
        response = server.ask(BODIES[path], path, headers={"X-Request-Id": "req-7"})
    check(response, 500, "server_error", "INTERNAL_ERROR")
    assert "RuntimeError: no file <path>" in response.text
    assert "/srv/secrets" not in response.text
    [record] = [record for record in caplog.records if record.name == "mlflow_dspy_plugin.server"]
    assert (record.message, record.exc_info is not None) == ("Request req-7 failed.", True)


def test_rows_may_have_their_own_failures(qa, lm):
    lm.models["bears"] = lambda messages, body: Fault(429) if "BAD" in messages[-1]["content"] else chat_text({"answer": "a"})  # fmt: skip
    rows = {"dataframe_records": [{"question": "fine"}, {"question": "BAD"}]}
    with running(qa) as server:
        whole = server.ask(rows)
        by_row = server.ask({**rows, "params": {"on_error": "row"}}).json()["predictions"]
    assert whole.status_code == 429
    assert whole.json()["message"].startswith("Row 1 of 2")
    assert [row["answer"] for row in by_row] == ["a", None]
    assert by_row[1]["error"].startswith("Row 1 of 2 (index 1): The language model's provider")

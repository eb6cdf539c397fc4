"""`/invocations`: each of MLflow's forms, and a stream of each."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import dspy
import pandas as pd
import pytest

from mlflow_dspy_plugin.seams.invocations import FORMATS
from tests.server import programs
from tests.server.conftest import ANSWER
from tests.server.running import events, running, wait_until

ONE = {"predictions": {"answer": ANSWER}}
TWO = {"predictions": [{"answer": ANSWER}, {"answer": ANSWER}]}
ASK = {"question": "What bear?"}
FORMS = {
    "inputs": ({"inputs": ASK}, ONE),
    "inputs, rows": ({"inputs": [ASK, ASK]}, TWO),
    "inputs, columns": ({"inputs": {"question": ["What bear?", "Which?"]}}, TWO),
    "instances": ({"instances": [ASK, ASK]}, TWO),
    "records": ({"dataframe_records": [ASK]}, ONE),
    "records, rows": ({"dataframe_records": [ASK, ASK]}, TWO),
    "split": ({"dataframe_split": {"columns": ["question"], "data": [["What bear?"], ["Which?"]]}}, TWO),
    "params": ({"inputs": ASK, "params": {"temperature": 0.5, "on_error": "row"}}, {"predictions": {"answer": ANSWER, "error": None}}),
    "stream: false": ({"inputs": ASK, "stream": False}, ONE),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_an_input_is_answered(form, server):
    body, expected = FORMS[form]
    response = server.ask(body)
    assert (response.status_code, response.json()) == (200, expected)


def test_the_params_of_a_request_reach_the_language_model(shared):
    lm, server = shared
    lm.requests.clear()
    server.ask({"inputs": ASK, "params": {"temperature": 0.25}})
    assert [each.body["temperature"] for each in lm.requests] == [0.25]


def test_tables_of_other_types_are_read(server):
    table = pd.DataFrame([ASK, ASK])
    parquet = io.BytesIO()
    table.to_parquet(parquet)
    for body, content_type in [
        (table.to_csv(index=False).encode(), "text/csv"),
        (table.to_csv(index=False).encode(), "text/csv; charset=utf-8"),
        (parquet.getvalue(), "application/vnd.apache.parquet"),
    ]:
        if content_type not in FORMATS and "csv" not in content_type:
            # MLflow 3.4.
            continue
        response = server.client.post("/invocations", content=body, headers={"Content-Type": content_type})
        assert (response.status_code, response.json()) == (200, TWO)


def test_a_stream_tells_the_text_as_it_comes_and_then_the_prediction(server):
    response = server.ask({"inputs": ASK, "stream": True})
    *told, last = events(response)
    items = [json.loads(each) for each in told]
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert last == "[DONE]"
    assert "".join(item["chunk"] for item in items) == ANSWER
    assert len(items) > 2
    assert items[-1]["prediction"] == {"answer": ANSWER}


@pytest.mark.parametrize("task", ["llm/v1/chat", "agent/v1/responses"])
def test_models_of_openai_s_tasks_are_asked_in_their_own_form(task, save):
    key = "messages" if "chat" in task else "input"
    body = {key: [{"role": "user", "content": "What bear?"}]}
    with running(save(dspy.Predict("question -> answer"), task=task)) as server:
        whole = server.ask(body).json()
        *told, last = events(server.ask({**body, "stream": True}))
    kind = json.loads(told[0])
    if "chat" in task:
        assert whole["choices"][0]["message"]["content"] == ANSWER
        assert (kind["object"], last) == ("chat.completion.chunk", "[DONE]")
    else:
        assert whole["output"][0]["content"][0]["text"] == ANSWER
        assert (kind["type"], last) == ("response.output_text.delta", "[DONE]")


def test_several_models_are_asked_by_their_names_and_the_first_without_one(save, lm):
    lm.models["lions"] = lambda messages, body: "[[ ## answer ## ]]\nthe lion"
    first = save(dspy.Predict("question -> answer"), "first")
    program = dspy.Predict("question -> answer")
    program.set_lm(dspy.LM("openai/lions", api_base=lm.base_url, num_retries=0, cache=False))
    with running({"bears": first, "lions": save(program, "second")}) as server:
        paths = ["/invocations", "/models/bears/invocations", "/models/lions/invocations", "/models/x/invocations"]
        responses = [server.ask({"inputs": ASK}, path) for path in paths]
        listed = server.client.get("/v1/models").json()["data"]
        one, none = server.client.get("/v1/models/lions"), server.client.get("/v1/models/x")
    told = [response.json().get("predictions", {}).get("answer") for response in responses]
    assert told == [ANSWER, ANSWER, "the lion", None]
    assert responses[-1].status_code == none.status_code == 404
    assert responses[-1].json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert [each["id"] for each in listed] == ["bears", "lions"]
    assert one.json() == listed[1]


def test_programs_that_cannot_be_awaited_are_answered_side_by_side(save):
    programs.gate.clear()
    with running(save(programs.Waiting()), concurrency=4) as server, ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(server.ask, {"inputs": ASK}) for _ in range(4)]
        wait_until(lambda: server.running == 4)
        programs.gate.set()
        assert [each.result().status_code for each in asked] == [200] * 4


def test_what_is_no_number_is_null_in_an_answer(save):
    body = b'{"inputs": {"number": NaN, "things": ["NaN"]}%s}'
    headers = {"Content-Type": "application/json"}
    with running(save(programs.Counting())) as server:
        whole = server.client.post("/invocations", content=body % b"", headers=headers)
        *_, last, _ = events(server.client.post("/invocations", content=body % b', "stream": true', headers=headers))
    told = [json.loads(text, parse_constant=pytest.fail) for text in (whole.text, last)]
    assert told[0] == {"predictions": {"half": None, "count": 1}}
    assert told[1]["prediction"] == {"half": None, "count": 1}

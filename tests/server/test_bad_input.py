"""What is no request is refused: by a status that says whose fault it is, and never by a traceback."""

import io
import json
import sys
import tempfile
from pathlib import Path

import dspy
import numpy
import pyarrow
import pyarrow.parquet
import pytest

from mlflow_dspy_plugin.seams.invocations import FORMATS
from mlflow_dspy_plugin.server.tables import PARQUET
from tests.server import programs
from tests.server.running import running

FOLDERS = (sys.prefix, tempfile.gettempdir(), str(Path(__file__).parents[2]))
PATHS = ("/invocations", "/v1/chat/completions", "/v1/responses")
JSON = "application/json"
DEEP = 100_000
CHAT = b'{"messages": [{"role": "user", "content": "%s"}]}'
# No JSON at all, or none that is an object of one of the protocols.
BODIES = {
    "empty": b"",
    "blank": b" \n",
    "half": b'{"inputs": {"question": "What',
    "trailing": b'{"inputs": {"question": "x"}} x',
    "two": b'{"inputs": {"question": "x"}}{}',
    "single quotes": b"{'inputs': 3}",
    "not UTF-8": b'{"inputs": "\xff\xfe"}',
    "UTF-16": '{"inputs": {"question": "x"}}'.encode("utf-16"),
    "null": b"null",
    "number": b"3",
    "text": b'"inputs"',
    "list": b"[1, 2]",
    "no keys": b"{}",
    "other keys": b'{"question": "x"}',
    "deep list": b"[" * DEEP,
    "deep input": b'{"inputs": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep object": b'{"messages": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "long number": b'{"inputs": ' + b"9" * 10_000 + b"}",
    "NUL": b"\x00",
    "random": bytes(range(256)),
}
# Of the form, and yet none that this model takes.
ROWS = {
    "null input": {"inputs": None},
    "missing field": {"inputs": {}},
    "another field": {"inputs": {"query": "x"}},
    "a list for a text": {"dataframe_records": [{"question": ["x"]}]},
    "no rows": {"dataframe_records": []},
    "rows of no kind": {"dataframe_records": [1]},
    "records of a text": {"dataframe_records": "x"},
    "two forms": {"inputs": {"question": "x"}, "instances": [{"question": "x"}]},
    "split without data": {"dataframe_split": {"columns": ["question"]}},
    "split of a list": {"dataframe_split": [1]},
    "ragged split": {"dataframe_split": {"columns": ["question"], "data": [["x", "y"]]}},
    "unknown split": {"dataframe_split": {"columns": ["question"], "data": [["x"]], "rows": 3}},
    "unknown param": {"inputs": {"question": "x"}, "params": {"heat": 1}},
    "ill-typed param": {"inputs": {"question": "x"}, "params": {"temperature": "hot"}},
    "huge param": {"inputs": {"question": "x"}, "params": {"temperature": 10**400}},
    "another model": {"inputs": {"question": "x"}, "params": {"model": "openai/lions"}},
    "params of a text": {"inputs": {"question": "x"}, "params": "hot"},
    "params of a list": {"inputs": {"question": "x"}, "params": [1]},
    "unknown param of two rows": {"inputs": [{"question": "x"}, {"question": "y"}], "params": {"heat": 1}},
    "unknown param of a split": {
        "dataframe_split": {"columns": ["question"], "data": [["x"], ["y"]]},
        "params": {"heat": 1},
    },
    "params of a number for two rows": {"inputs": [{"question": "x"}, {"question": "y"}], "params": 5},
    "stream of a text": {"inputs": {"question": "x"}, "stream": "yes"},
    "stream of rows": {"dataframe_records": [{"question": "x"}, {"question": "y"}], "stream": True},
}


def post(server, path: str, body: bytes, content_type: str | None = JSON):
    headers = {} if content_type is None else {"Content-Type": content_type}
    return server.client.post(path, content=body, headers=headers)


def check(response, status: int) -> None:
    """A refusal in the protocol's form, which tells nothing of the server."""
    assert response.status_code == status, response.text[:500]
    told = response.json()
    message = told["error"]["message"] if "error" in told else told["message"]
    assert 0 < len(message) <= 4100
    assert not any(word in response.text for word in ("Traceback", "site-packages", *FOLDERS, '.py"', "File "))


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_that_cannot_be_read_is_a_bad_request(kind, shared):
    lm, server = shared
    lm.requests.clear()
    for path in PATHS:
        check(post(server, path, BODIES[kind]), 400)
    assert not lm.requests


@pytest.mark.parametrize("kind", ROWS)
def test_an_input_that_does_not_fit_the_model_is_a_bad_request(kind, shared):
    lm, server = shared
    lm.requests.clear()
    check(server.ask(ROWS[kind]), 400)
    assert not lm.requests


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin-1", "application/json; q=1", ";", "json"],
)  # fmt: skip
def test_a_body_of_another_type_is_not_read(content_type, server):
    for path in PATHS:
        check(post(server, path, b'{"inputs": {"question": "x"}}', content_type), 415)


def test_a_table_that_becomes_much_once_it_is_unpacked_is_refused(server):
    packed = io.BytesIO()
    column = pyarrow.DictionaryArray.from_arrays(numpy.zeros(5_000_000, "int8"), ["x"])
    pyarrow.parquet.write_table(pyarrow.table({"question": column}), packed)
    assert len(packed.getvalue()) < 100_000
    response = post(server, "/invocations", packed.getvalue(), PARQUET)
    check(response, 413 if PARQUET in FORMATS else 415)


def test_tables_are_read_by_invocations_alone(server):
    for path in PATHS[1:]:
        check(post(server, path, b"question\nx\n", "text/csv"), 415)
    for content_type in FORMATS[0], *FORMATS[2:]:
        for body in (b"", b"\xff\xfe", b'a\n"'):
            check(post(server, "/invocations", body, content_type), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("POST", "/v1/completions", 404),
        ("POST", "/v1/files", 404),
        ("POST", "/invocations/", 404),
        ("POST", "/models//invocations", 404),
        ("POST", "/models/a/b/invocations", 404),
        ("GET", "/v1/models/x", 404),
        ("GET", "/v1/models/%2e%2e%2fetc", 404),
        ("GET", "/invocations", 405),
        ("DELETE", "/v1/models/qa", 405),
        ("PUT", "/v1/chat/completions", 405),
    ],
)
def test_a_path_or_method_that_is_not_there_is_told_in_the_protocol_s_form(method, path, status, server):
    response = server.client.request(method, path, json={})
    check(response, status)
    assert ("error" in response.json()) == path.startswith("/v1/")


def test_half_a_letter_is_refused_before_the_language_model_is_asked(shared):
    lm, server = shared
    lm.requests.clear()
    for path, body in [
        ("/v1/chat/completions", CHAT % b"\\ud83d"),
        ("/v1/chat/completions", CHAT[:-1] % b"x" + b', "stop": "\\uDC00"}'),
        ("/v1/responses", b'{"input": "\\udfff"}'),
        ("/invocations", b'{"inputs": {"question": "\\ud83d"}}'),
    ]:
        check(post(server, path, body), 400)
    assert not lm.requests


def test_both_halves_of_a_letter_are_one(shared):
    lm, server = shared
    lm.requests.clear()
    assert post(server, "/v1/chat/completions", CHAT % b"\\ud83d\\udc3b").status_code == 200
    assert "\N{BEAR FACE}" in lm.requests[0].body["messages"][-1]["content"]


def test_an_input_that_python_reads_as_no_number_is_answered_or_refused(save):
    with running(save(programs.Counting())) as server:
        for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "1" * 5000):
            response = post(server, "/invocations", b'{"inputs": {"number": %s}}' % number.encode())
            assert response.status_code in (200, 400), response.text
            json.loads(response.text, parse_constant=pytest.fail)


def test_numbers_that_json_lacks_are_refused_by_openai_s_protocols(server):
    check(post(server, "/v1/chat/completions", CHAT[:-1].replace(b"%s", b"x") + b', "temperature": NaN}'), 400)
    check(
        post(server, "/v1/chat/completions", CHAT[:-1].replace(b"%s", b"x") + b', "seed": ' + b"9" * 5000 + b"}"), 400
    )
    check(post(server, "/v1/responses", b'{"input": "x", "temperature": Infinity}'), 400)


def test_a_model_that_cannot_chat_says_what_it_needs(save):
    with running(save(dspy.Predict("left: int, right: int -> total: int"))) as server:
        for path, body in [(PATHS[1], {"messages": [{"role": "user", "content": "x"}]}), (PATHS[2], {"input": "x"})]:
            check(server.ask(body, path), 400)

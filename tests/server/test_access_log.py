"""Each request is one line of JSON, which holds nothing that a client wrote."""

import io
import json
import logging
import threading

import dspy
import pytest

from mlflow_dspy_plugin.metering import count_answers
from mlflow_dspy_plugin.server.access_log import LOGGER, AccessLog, start_access_log
from tests.fakes.openai_server import OpenAIServer
from tests.server.requests import answering

CANARY = "sk-canary-5e1f07d2c9"


class Stuck(io.StringIO):
    """A pipe that nobody reads for a while."""

    def __init__(self):
        super().__init__()
        self.is_written_to, self.may_go_on = threading.Event(), threading.Event()

    def write(self, text):
        self.is_written_to.set()
        assert self.may_go_on.wait(20)
        return super().write(text)


@pytest.fixture
def log():
    """What is written; given by lines once the log is closed."""
    stream = io.StringIO()
    behind = start_access_log(stream)

    def lines():
        behind.close()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield lines
    behind.close()


def test_a_line_tells_what_is_known_of_a_request(log):
    with answering(AccessLog(), version=None) as request:
        request.status, request.received, request.sent = 200, 11, 22
        request.trace_id, request.key = "tr-1", "0123abcd"
    [line] = log()
    assert line.pop("time").endswith("+00:00")
    assert line.pop("seconds") >= 0
    assert line == {
        "request_id": "request-1",
        "method": "POST",
        "path": "/invocations",
        "model": "qa",
        "status": 200,
        "queue_seconds": 0.0,
        "received_bytes": 11,
        "sent_bytes": 22,
        "trace_id": "tr-1",
        "key": "0123abcd",
    }


def test_a_line_has_the_tokens_that_the_request_was_answered_with(log):
    undo = count_answers()
    with OpenAIServer() as server, answering(AccessLog()):
        lm = dspy.LM("openai/echo", api_base=server.base_url, cache=False)
        with dspy.context(lm=lm):
            lm("one")
            lm("two")
    undo()
    [line] = log()
    assert line["input_tokens"] > 0 and line["output_tokens"] > 0


def test_headers_are_not_in_it(log):
    told = {"Authorization": f"Bearer {CANARY}", "Cookie": CANARY, "X-Session-Id": CANARY, "traceparent": CANARY}
    with answering(AccessLog(), headers=told):
        pass
    [line] = log()
    assert CANARY not in json.dumps(line)


def test_a_request_that_failed_or_was_left_has_its_line(log):
    with pytest.raises(ZeroDivisionError), answering(AccessLog()):
        raise ZeroDivisionError
    with answering(AccessLog()) as request:
        request.status = 503
    left, refused = log()
    assert "status" not in left and refused["status"] == 503


def test_lines_go_where_logging_is_configured_to_take_them():
    logger, stream = logging.getLogger(LOGGER), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    assert start_access_log() is None
    with answering(AccessLog()):
        pass
    logger.removeHandler(handler)
    assert json.loads(stream.getvalue())["request_id"] == "request-1"


def test_no_request_waits_for_a_reader_and_lines_that_are_lost_are_counted(monkeypatch):
    monkeypatch.setattr("mlflow_dspy_plugin.server.access_log._MOST_LINES", 3)
    stream = Stuck()
    behind = start_access_log(stream)
    with answering(AccessLog()):
        pass
    assert stream.is_written_to.wait(20)
    for _ in range(5):
        with answering(AccessLog()):
            pass
    stream.may_go_on.set()
    behind.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("lost_lines") for line in lines] == [None] * 4 + [2]

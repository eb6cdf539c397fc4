"""What is known of a request while it is answered, and who is told."""

from tests.server.conftest import ANSWER
from tests.server.running import running, wait_until

ASK = {"inputs": {"question": "What bear?"}}


class Watching:
    """Keeps all that it is told of."""

    def __init__(self):
        self.begun, self.ended = [], []

    def begin(self, request):
        self.begun.append(request.path)

    def end(self, request):
        self.ended.append(request)


class Broken:
    """Fails whenever it is told something."""

    def begin(self, request):
        raise ValueError("begin")

    def end(self, request):
        raise ValueError("end")


def test_an_observer_is_told_what_came_of_each_request(qa):
    watching = Watching()
    with running(qa, [watching], keys=("sk-canary",)) as server:
        headers = {"Authorization": "Bearer sk-canary", "X-Request-Id": "req-1"}
        whole = server.ask(ASK, headers=headers)
        server.ask({**ASK, "stream": True}, "/models/qa/invocations", headers=headers)
        server.ask({}, "/v1/chat/completions", headers=headers)
        server.ask(ASK)
        server.client.get("/nothing/at/all", headers=headers)
        wait_until(lambda: len(watching.ended) == 6)
    ping, first, stream, ill, refused, unknown = watching.ended
    assert [each.path for each in watching.ended] == [
        "/ping", "/invocations", "/models/{name}/invocations", "/v1/chat/completions", "", ""
    ]  # fmt: skip
    assert [each.status for each in watching.ended] == [200, 200, 200, 400, 401, 404]
    assert (first.request_id, first.method, first.model) == ("req-1", "POST", "qa")
    assert (first.received, first.sent) == (len(b'{"inputs":{"question":"What bear?"}}'), len(whole.content))
    assert [each.meter.total("total_tokens") for each in (first, stream, ill)] == [15, 15, 0]
    assert stream.sent > len(ANSWER)
    assert 0 <= first.queue_seconds <= first.seconds
    assert (len(first.key), first.key == stream.key, refused.key, ping.key) == (8, True, None, None)
    assert "sk-canary" not in repr(watching.ended)


def test_a_client_that_has_left_has_no_status(qa, lm):
    lm.latency = 30.0
    watching = Watching()
    with running(qa, [watching]) as server:
        with server.connect() as connection:
            body = b'{"inputs": {"question": "x"}}'
            connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))  # fmt: skip
            wait_until(lambda: server.running == 1)
        wait_until(lambda: len(watching.ended) == 2)
    assert watching.ended[-1].status is None


def test_an_observer_that_fails_is_logged_and_changes_no_answer(qa, monkeypatch, caplog):
    monkeypatch.delenv("MLFLOW_AUTOLOGGING_TESTING", raising=False)
    watching = Watching()
    with running(qa, [Broken(), watching]) as server:
        assert server.ask(ASK).json() == {"predictions": {"answer": ANSWER}}
        wait_until(lambda: len(watching.ended) == 2)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info][:2] == ["begin", "end"]

"""What requests come to, as Prometheus reads it."""

import types

import dspy
import pytest

from mlflow_dspy_plugin.metering import count_answers
from mlflow_dspy_plugin.server.metrics import Metrics
from tests.fakes.openai_server import OpenAIServer
from tests.server.requests import answering

parser = pytest.importorskip("prometheus_client.parser")


class Served(list):
    """The models of a server, one of which could not be replaced."""

    def failure(self, name):
        return "it has no program" if name == "other" else None


QA, OTHER = (types.SimpleNamespace(name=name, version=version) for name, version in (("qa", "3"), ("other", None)))
SERVER = types.SimpleNamespace(
    admission=types.SimpleNamespace(running=2, queued=5), models=Served([QA, OTHER]), settings=None
)


@pytest.fixture
def metrics():
    return Metrics(lambda: SERVER)


def read(metrics):
    """All figures, by their name and labels."""
    page, content_type = metrics.page()
    assert content_type.startswith("text/plain")
    families = parser.text_string_to_metric_families(page.decode())
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("mlflow_dspy")
    }


def test_requests_are_counted_by_path_model_and_status(metrics):
    for status in (200, 200, 429, None):
        with answering(metrics) as request:
            request.status = status
    with answering(metrics, path="", model=None) as request:
        request.status = 404
    figures = read(metrics)
    counted = {key[1:]: value for key, value in figures.items() if key[0] == "mlflow_dspy_requests_total"}
    assert counted == {
        ("model=qa", "path=/invocations", "status=200"): 2,
        ("model=qa", "path=/invocations", "status=429"): 1,
        ("model=qa", "path=/invocations", "status=499"): 1,
        ("model=", "path=other", "status=404"): 1,
    }
    assert figures["mlflow_dspy_request_seconds_count", "model=qa", "path=/invocations"] == 4
    assert figures["mlflow_dspy_queue_seconds_count", "model=qa"] == 4


def test_a_client_can_add_no_figures_by_what_it_sends(metrics):
    with answering(metrics, path="", model=None, headers={"X-Session-Id": "s", "User-Agent": "a"}) as request:
        request.method, request.status = "BREW", 405
    before = set(read(metrics))
    with answering(metrics, path="", model=None) as request:
        request.method, request.status, request.user = "BREW-2", 405, "somebody"
    assert set(read(metrics)) == before


def test_tokens_are_counted_by_model_and_kind(metrics):
    undo = count_answers()
    with OpenAIServer() as server:
        lm = dspy.LM("openai/echo", api_base=server.base_url, cache=False)
        for name in ("qa", "qa", "other"):
            with answering(metrics, model=name) as request:
                lm("one two three")
                asked = {kind: request.meter.total(f"{kind}_tokens") for kind in ("input", "output")}
    undo()
    figures = read(metrics)
    for kind, tokens in asked.items():
        assert tokens > 0
        assert figures["mlflow_dspy_tokens_total", f"kind={kind}", "model=qa"] == 2 * tokens
        assert figures["mlflow_dspy_tokens_total", f"kind={kind}", "model=other"] == tokens


def test_cost_is_counted_where_it_is_known(metrics):
    undo = count_answers()
    with OpenAIServer(models={"gpt-4o-mini": lambda messages, body: "hi"}) as server:
        lm = dspy.LM("openai/gpt-4o-mini", api_base=server.base_url, cache=False)
        with answering(metrics) as request:
            lm("one two three")
    undo()
    cost = request.meter.total("cost")
    assert cost > 0
    assert read(metrics)["mlflow_dspy_cost_usd_total", "model=qa"] == pytest.approx(cost)


def test_the_server_tells_what_it_does_now(metrics):
    figures = read(metrics)
    assert figures["mlflow_dspy_requests_in_flight",] == 2
    assert figures["mlflow_dspy_requests_queued",] == 5
    assert figures["mlflow_dspy_model_info", "model=qa", "version=3"] == 1
    assert figures["mlflow_dspy_model_info", "model=other", "version="] == 1
    assert figures["mlflow_dspy_model_reload_failed", "model=qa"] == 0
    assert figures["mlflow_dspy_model_reload_failed", "model=other"] == 1


def test_a_server_that_has_not_begun_has_figures_of_requests_alone():
    assert read(Metrics(lambda: None)) == {}


def test_openmetrics_is_given_to_who_accepts_it(metrics):
    page, content_type = metrics.page("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")

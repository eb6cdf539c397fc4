"""No key reaches a span, wherever the user has put it."""

import dspy
import mlflow
import pytest

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.scripted import scripted_lm
from tests.tracing.trees import spans_named, text_of

KEY = "key-that-must-not-be-stored-1234567890"
HEADERS = {"Authorization": f"Token {KEY}", "X-Api-Key": KEY}
TEXT = "[[ ## answer ## ]]\na\n\n[[ ## completed ## ]]"


@pytest.fixture(scope="module")
def server():
    with OpenAIServer({"m": lambda messages, body: TEXT}) as running:
        yield running


def predict():
    return dspy.Predict("question -> answer")


WAYS = {
    "in the LM": lambda make: predict()(question="q", lm=make(api_key=KEY)),
    "in the LM's headers": lambda make: predict()(question="q", lm=make(api_key="k", extra_headers=HEADERS)),
    "per call of the LM": lambda make: make(api_key="k")("q", api_key=KEY),
    "in headers per call of the LM": lambda make: make(api_key="k")("q", extra_headers=HEADERS),
    "in the config of a call": lambda make: predict()(question="q", lm=make(api_key="k"), config={"api_key": KEY}),
    "in headers of the config of a call": lambda make: predict()(
        question="q", lm=make(api_key="k"), config={"extra_headers": HEADERS}
    ),
    "in the config of the predictor": lambda make: dspy.Predict("question -> answer", api_key=KEY)(
        question="q", lm=make(api_key="k")
    ),
}


@pytest.mark.parametrize("call", WAYS.values(), ids=WAYS)
def test_no_key_is_stored(call, server, trace):
    def make(**kwargs):
        return dspy.LM("openai/m", api_base=server.base_url, cache=False, num_retries=0, **kwargs)

    call(make)
    sent = server.requests[-1].headers
    assert any(KEY in value for value in sent.values()), "the call has not used the key"
    found = trace()
    assert spans_named(found, "LM.__call__")
    assert KEY not in text_of(found)
    assert KEY not in repr(mlflow.get_trace(found.info.trace_id).to_dict())


def test_what_is_put_out_of_sight_is_seen_to_be(server, trace):
    lm = dspy.LM("openai/m", api_base=server.base_url, cache=False, api_key="k")
    lm("q", api_key=KEY)
    assert trace().data.spans[0].inputs["api_key"] == "[REDACTED]"


def test_a_key_that_a_provider_echoes_in_its_error_is_put_out_of_sight(trace):
    key = "sk-proj-4c0ffee7f3a4c0ffee"
    dspy.configure(lm=scripted_lm(ValueError(f"Incorrect API key provided: {key}.")))
    with pytest.raises(Exception, match=key):
        dspy.Predict("question -> answer")(question="q")
    found = trace()
    assert key not in text_of(found)
    assert "Incorrect API key provided: [REDACTED]" in text_of(found)


def test_keys_in_lists_and_headers_of_arguments_are_put_out_of_sight(trace):
    def call(options: list, extra_headers: dict) -> str:
        return "done"

    dspy.Tool(call)(options=[{"api_key": KEY, "k": 1}], extra_headers={"X-Any": KEY, "User-Agent": "tests"})
    (span,) = trace().data.spans
    assert span.inputs == {
        "options": [{"api_key": "[REDACTED]", "k": 1}],
        "extra_headers": {"X-Any": "[REDACTED]", "User-Agent": "tests"},
    }

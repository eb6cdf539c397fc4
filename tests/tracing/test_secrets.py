"""What stands where a key was; `test_secret_matrix.py` says that none is left."""

import dspy
import pytest

from tests.fakes.openai_server import OpenAIServer
from tests.fakes.scripted import scripted_lm
from tests.tracing.trees import text_of

KEY = "key-that-must-not-be-stored-1234567890"
TEXT = "[[ ## answer ## ]]\na\n\n[[ ## completed ## ]]"


@pytest.fixture(scope="module")
def server():
    with OpenAIServer({"m": lambda messages, body: TEXT}) as running:
        yield running


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

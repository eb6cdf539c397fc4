"""What a language model's failures become: errors of MLflow's that tell the row and the cause, and no key."""

import dspy
import mlflow
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations

from mlflow_dspy_plugin.errors import CallError
from tests.fakes.openai_server import Fault, OpenAIServer, Reply
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401

KEY = "sk-failures-canary-0a1b2c3d4e5f60718293"


def failing(fault):
    """Fails where the question says so."""
    return lambda messages, body: fault if "BAD" in messages[-1]["content"] else chat_text({"answer": "fine"})


def served(server: OpenAIServer, monkeypatch, **options):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    dspy.configure(
        lm=dspy.LM("openai/bears", api_base=server.base_url, num_retries=0, cache=False, **options),
        adapter=dspy.ChatAdapter(),
    )
    mlflow.dspy.save_model(dspy.Predict("question -> answer"), "model")
    dspy.configure(lm=None, adapter=None)
    return mlflow.pyfunc.load_model("model")


FAULTS = [
    (Fault(401, "Incorrect API key provided: {key}"), "UNAUTHENTICATED", "refused the key"),
    (Fault(429), "REQUEST_LIMIT_EXCEEDED", "takes no more requests now"),
    (Fault(500), "TEMPORARILY_UNAVAILABLE", "cannot be reached, or failed"),
    (Fault(400), "BAD_REQUEST", "refused the request"),
]


@pytest.mark.parametrize(("fault", "code", "words"), FAULTS, ids=[str(fault.status) for fault, _, _ in FAULTS])
def test_what_a_provider_refuses_is_told_with_the_row_and_the_cause(fault, code, words, monkeypatch):
    with OpenAIServer({"bears": failing(fault)}) as server:
        model = served(server, monkeypatch)
        for rows, where in [(["fine", "BAD", "fine"], "Row 1 of 3"), (["BAD"], "The language model")]:
            with pytest.raises(CallError, match=words) as raised:
                model.predict(pd.DataFrame({"question": rows}))
            assert raised.value.error_code == code
            assert raised.value.message.startswith(where)
            assert not tells_key(raised.value)
        answers = model.predict(pd.DataFrame({"question": ["fine", "BAD", "fine"]}), params={"on_error": "row"})
    assert list(answers["answer"]) == ["fine", None, "fine"]
    assert words in answers["error"][1]
    assert KEY not in answers.to_json()


def tells_key(error) -> bool:
    """Whether an exception, or one that caused it, tells the key."""
    told = []
    while error is not None:
        told.append(repr(error) + str(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return KEY in " ".join(told)


def test_the_scoring_server_answers_with_the_status_of_the_failure(monkeypatch):
    with OpenAIServer({"bears": failing(Fault(429))}) as server:
        model = served(server, monkeypatch)
        with pytest.raises(mlflow.MlflowException) as raised:
            invocations('{"inputs": {"question": "BAD"}}', CONTENT_TYPE_JSON, model, model.metadata.get_input_schema())
    assert raised.value.get_http_status_code() == 429


def test_a_language_model_that_takes_too_long_is_a_deadline(monkeypatch):
    with OpenAIServer({"bears": failing(None)}, latency=5.0) as server:
        model = served(server, monkeypatch, timeout=0.3)
        with pytest.raises(CallError, match="did not answer in time") as raised:
            model.predict({"question": "fine"})
    assert raised.value.error_code == "DEADLINE_EXCEEDED"


def test_a_language_model_that_is_not_there_is_unavailable(monkeypatch):
    with OpenAIServer({"bears": failing(None)}) as server:
        model = served(server, monkeypatch)
    with pytest.raises(CallError, match="cannot be reached, or failed") as raised:
        model.predict({"question": "fine"})
    assert raised.value.error_code == "TEMPORARILY_UNAVAILABLE"


def test_an_answer_that_breaks_off_is_a_failure_of_the_language_model(monkeypatch):
    with OpenAIServer({"bears": lambda messages, body: Reply(chat_text({"answer": "fine"}), cut=True)}) as server:
        model = served(server, monkeypatch)
        with pytest.raises(CallError) as raised:
            model.predict({"question": "fine"})
    assert raised.value.error_code == "TEMPORARILY_UNAVAILABLE"

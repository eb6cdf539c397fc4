"""What a language model's failures become: errors of MLflow's that tell the row and the cause, and no key."""

import json
import traceback

import dspy
import mlflow
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations

from mlflow_dspy_plugin.errors import CallError
from tests.fakes.openai_server import Fault, OpenAIServer, Reply
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401
from tests.serving import failing_programs

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


STATUSES = [(403, "UNAUTHENTICATED"), (413, "BAD_REQUEST"), (422, "BAD_REQUEST"), (529, "TEMPORARILY_UNAVAILABLE")]


@pytest.mark.parametrize(("status", "code"), STATUSES)
def test_a_status_has_one_code_whichever_library_tells_it(status, code, monkeypatch):
    with OpenAIServer({"bears": failing(Fault(status, "no"))}) as server, pytest.raises(CallError) as raised:
        served(server, monkeypatch).predict({"question": "BAD"})
    assert raised.value.error_code == code


@pytest.mark.parametrize("text", ["a text without any field", ""])
def test_an_answer_that_cannot_be_read_is_no_fault_of_the_caller_s(text, monkeypatch):
    with OpenAIServer({"bears": lambda messages, body: text}) as server:
        model = served(server, monkeypatch)
        for fails in (lambda: model.predict({"question": "x"}), lambda: list(model.predict_stream({"question": "x"}))):
            with pytest.raises(CallError, match="The language model's answer could not be read") as raised:
                fails()
            assert raised.value.get_http_status_code() == 500


PASSWORD = "correct-horse-9-battery-canary"


@pytest.fixture
def raises(monkeypatch):
    """A program that fails, as a model; its language model refuses the key."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("BEARS_PASSWORD", PASSWORD)
    with OpenAIServer({"bears": failing(Fault(401, "Incorrect API key provided: {key}"))}) as server:
        dspy.configure(lm=dspy.LM("openai/bears", api_base=server.base_url, num_retries=0, cache=False))
        mlflow.dspy.save_model(failing_programs.Raises(), "model")
        dspy.configure(lm=None)
        yield mlflow.pyfunc.load_model("model")


WAYS = [
    ("wrapped", "UNAUTHENTICATED", "refused the key.* RuntimeError: the agent failed"),
    ("direct", "INTERNAL_ERROR", "the program raised RuntimeError: cannot call"),
    ("chained", "INTERNAL_ERROR", "the program raised ValueError: lookup failed"),
    ("implicit", "INTERNAL_ERROR", "the program raised ValueError: lookup failed"),
    ("variable", "INTERNAL_ERROR", "the program raised RuntimeError: it is"),
    ("own", "RESOURCE_DOES_NOT_EXIST", "no "),
    ("plain", "RESOURCE_DOES_NOT_EXIST", "no bear"),
    ("exit", "INTERNAL_ERROR", "the program raised SystemExit: no such option"),
    ("endless", "INTERNAL_ERROR", "its answer cannot be made of values that JSON has"),
]


@pytest.mark.parametrize(("way", "code", "words"), WAYS, ids=[way for way, _, _ in WAYS])
def test_what_a_program_raises_is_told_without_secrets_for_one_row_as_for_several(way, code, words, raises):
    calls = [
        lambda: raises.predict({"question": way}),
        lambda: raises.predict(pd.DataFrame({"question": ["nothing", way]})),
        lambda: list(raises.predict_stream({"question": way})),
    ]
    for fails in calls:
        with pytest.raises(mlflow.MlflowException, match=f"(?is){words}") as raised:
            fails()
        assert raised.value.error_code == code
        shown = "".join(traceback.format_exception(None, raised.value, raised.value.__traceback__))
        assert KEY not in shown
        assert PASSWORD not in shown
    answers = raises.predict(pd.DataFrame({"question": ["nothing", way]}), params={"on_error": "row"})
    error = answers["error"][1]
    assert error.startswith("Row 1 of 2")
    assert KEY not in error
    assert PASSWORD not in error


def test_the_server_s_answer_tells_no_secret(raises):
    for way in ("wrapped", "direct", "chained", "implicit", "variable", "own"):
        body = json.dumps({"inputs": {"question": way}})
        with pytest.raises(mlflow.MlflowException) as raised:
            invocations(body, CONTENT_TYPE_JSON, raises, raises.metadata.get_input_schema())
        told = raised.value.serialize_as_json()
        assert KEY not in told
        assert PASSWORD not in told


def test_an_interrupt_leaves_as_it_is(raises):
    with pytest.raises(KeyboardInterrupt):
        raises.predict({"question": "interrupt"})


def test_what_the_caller_handles_meanwhile_is_no_cause(raises):
    with pytest.raises(CallError) as raised:
        try:
            raises.predict({"question": "wrapped"})
        except CallError:
            raises.predict({"question": "endless"})
    assert raised.value.error_code == "INTERNAL_ERROR"


def test_an_answer_that_is_far_too_long_is_cut(monkeypatch):
    with OpenAIServer({"bears": lambda messages, body: "bears " * 100_000}) as server:
        model = served(server, monkeypatch)
        with pytest.raises(CallError, match="could not be read") as raised:
            model.predict({"question": "x"})
    assert len(raised.value.message) < 5_000


@pytest.mark.parametrize("what", ["none", "empty", "blank", "later"])
@pytest.mark.parametrize("task", ["llm/v1/chat", "agent/v1/responses"])
def test_a_chat_without_an_answer_is_an_error(task, what):
    mlflow.dspy.save_model(failing_programs.Returns(), "model", task=task)
    model = mlflow.pyfunc.load_model("model")
    asked = {"messages" if task == "llm/v1/chat" else "input": [{"role": "user", "content": what}]}
    for fails in (lambda: model.predict(asked), lambda: list(model.predict_stream(asked))):
        with pytest.raises(CallError, match="The program returned no answer") as raised:
            fails()
        assert raised.value.get_http_status_code() == 500


def test_a_plain_program_may_return_nothing():
    mlflow.dspy.save_model(failing_programs.Returns(), "model")
    assert mlflow.pyfunc.load_model("model").predict({"question": "none"}) is None


def test_a_language_model_that_takes_too_long_is_a_deadline_in_a_stream_too(monkeypatch):
    with OpenAIServer({"bears": failing(None)}, latency=5.0) as server:
        model = served(server, monkeypatch, timeout=0.3)
        with pytest.raises(CallError, match="did not answer in time") as raised:
            list(model.predict_stream({"question": "fine"}))
    assert raised.value.error_code == "DEADLINE_EXCEEDED"


def test_a_stream_that_falls_silent_is_a_deadline(monkeypatch):
    with OpenAIServer({"bears": lambda messages, body: chat_text({"answer": "bears " * 20})}) as server:
        server.chunk_latency = 2.0
        model = served(server, monkeypatch, timeout=0.3)
        with pytest.raises(CallError, match="did not answer in time") as raised:
            list(model.predict_stream({"question": "fine"}))
    assert raised.value.error_code == "DEADLINE_EXCEEDED"

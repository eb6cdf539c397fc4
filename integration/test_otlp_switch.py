"""What spans say to an OTLP receiver follows autologging: on, off, on again, and when MLflow begins tracing anew."""

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.seams.spans import current_provider
from tests.fakes.otlp_receiver import OtlpReceiver, needs_exporter
from tests.fakes.scripted import scripted_lm

pytestmark = needs_exporter
QUESTION, ANSWER = "question-canary-5b1f", "answer-canary-77ae"


@pytest.fixture
def receiver(monkeypatch):
    """Where this process sends its traces; its spans begin with autologging off."""
    with OtlpReceiver() as receiver:
        for name, value in receiver.environment.items():
            monkeypatch.setenv(name, value)
        mlflow.tracing.reset()
        yield receiver
        mlflow.dspy.autolog(disable=True)
        mlflow.tracing.reset()


def ask():
    with dspy.context(lm=scripted_lm({"answer": ANSWER}, model="openai/gpt-4o-mini", temperature=0.5)):
        return dspy.Predict("question -> answer")(question=QUESTION).answer


def flush():
    current_provider().force_flush()


def chats(receiver):
    return [span for span in receiver.spans if span.attributes.get("gen_ai.operation.name") == "chat"]


def test_a_span_is_sent_once_and_told_once_however_often_autologging_is_switched(receiver):
    mlflow.dspy.autolog()
    mlflow.dspy.autolog()
    ask()
    mlflow.dspy.autolog(disable=True)
    mlflow.dspy.autolog()
    ask()
    flush()
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)
    assert len(chats(receiver)) == 2


def test_what_has_ended_before_autologging_is_switched_off_is_told_all_the_same(receiver):
    mlflow.dspy.autolog()
    ask()
    mlflow.dspy.autolog(disable=True)
    ask()
    flush()
    assert [span.attributes["gen_ai.request.temperature"] for span in chats(receiver)] == [0.5]


def test_when_mlflow_begins_tracing_anew_the_spans_are_told_as_before(receiver):
    mlflow.dspy.autolog()
    ask()
    flush()
    mlflow.tracing.reset()
    ask()
    flush()
    mlflow.tracing.disable()
    ask()
    mlflow.tracing.enable()
    ask()
    flush()
    assert [span.types["gen_ai.usage.input_tokens"] for span in chats(receiver)] == ["int"] * 3


def test_where_content_is_not_captured_nothing_that_was_said_leaves(receiver):
    mlflow.dspy.autolog(capture_content=False)
    assert ask() == ANSWER
    flush()
    sent = b"".join(receiver.bodies)
    assert QUESTION.encode() not in sent and ANSWER.encode() not in sent
    [chat] = chats(receiver)
    assert chat.types["gen_ai.usage.input_tokens"] == "int"
    assert (chat.attributes["gen_ai.provider.name"], chat.attributes["gen_ai.request.model"]) == (
        "openai",
        "gpt-4o-mini",
    )
    assert chat.attributes["gen_ai.request.temperature"] == 0.5


def test_a_trace_that_is_sent_stays_nowhere(receiver):
    mlflow.dspy.autolog()
    manager = mlflow.tracing.trace_manager.InMemoryTraceManager.get_instance()
    for _ in range(3):
        ask()
    flush()
    assert (len(manager._traces), len(manager._otel_id_to_mlflow_trace_id)) == (0, 0)

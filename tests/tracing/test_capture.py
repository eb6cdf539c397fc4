"""`autolog(redact=..., capture_content=...)`: what the user wants out of sight is nowhere in a trace."""

import re

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import SettingError
from tests.fakes.scripted import Answer, Usage, scripted_lm
from tests.tracing.trees import outline, predictor, spans_named

CANARY = "canary of the patient Ezra"


class Ask(dspy.Module):
    def __init__(self):
        super().__init__()
        self.predict = dspy.Predict(dspy.Signature("question -> answer", f"Talk to {CANARY}."))

    def forward(self, question):
        return self.predict(question=question)


def test_without_content_the_structure_stays_and_no_text(trace):
    mlflow.dspy.autolog(capture_content=False)
    with dspy.context(lm=scripted_lm(Answer({"answer": CANARY}, usage=Usage(7, 3)))):
        assert Ask()(question=CANARY).answer == CANARY
    found = trace()
    assert "Ezra" not in found.to_json()
    assert outline(found, content=False) == "Ask.forward CHAIN OK\n" + predictor("Predict.forward LLM OK", indent=1)
    [lm] = spans_named(found, "LM.__call__")
    assert [message["role"] for message in lm.inputs["messages"]] == ["system", "user"]
    assert (lm.attributes["model"], lm.attributes["finish_reasons"]) == ("scripted/model", ["stop"])
    assert found.info.token_usage["total_tokens"] == 10
    [predict] = spans_named(found, "Predict.forward")
    assert predict.attributes["signature"] == "question -> answer"
    assert predict.inputs == {"question": f"[text of {len(CANARY)} characters]"}


def test_without_content_an_error_keeps_its_type_and_where_it_was_raised(trace):
    mlflow.dspy.autolog(capture_content=False)
    with dspy.context(lm=scripted_lm(ConnectionError(CANARY))), pytest.raises(Exception, match=CANARY):
        Ask()(question="q")
    found = trace()
    assert "Ezra" not in found.to_json()
    event = found.data.spans[0].events[-1]
    assert event.attributes["exception.type"].endswith("Error")
    assert "in forward" in event.attributes["exception.stacktrace"]


@pytest.mark.parametrize(
    "redact",
    ["Ezra|patient", re.compile("EZRA", re.IGNORECASE), lambda text: text.replace("Ezra", "*"), ["x{9}", "Ezra"]],
    ids=["text", "compiled", "function", "list"],
)
def test_what_the_user_redacts_is_nowhere(redact, trace):
    mlflow.dspy.autolog(redact=redact)
    with dspy.context(lm=scripted_lm({"answer": CANARY})):
        assert Ask()(question=CANARY).answer == CANARY
    stored = trace().to_json()
    assert "Ezra" not in stored
    assert "canary of the" in stored


@pytest.mark.parametrize("redact", ["(", 5, str, "a*"])
def test_a_rule_that_is_none_is_refused_and_nothing_changes(redact, trace):
    with pytest.raises(SettingError, match="redact got"):
        mlflow.dspy.autolog(redact=redact)
    dspy.Predict("question -> answer")(question="q")
    assert trace().info.state == "OK"

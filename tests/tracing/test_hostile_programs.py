"""Programs, values and settings of the user's that stand in the way of being looked at, or lead round in a circle."""

import dataclasses

import dspy
import mlflow
import pytest

from tests.fakes.scripted import scripted_lm
from tests.tracing.logs import warnings_logged
from tests.tracing.trees import outline, predictor, spans_named, under

PREDICT = dspy.Predict("question -> answer")
ASKED = "Predict.forward LLM OK {'question': 'q'} -> {'answer': 'a'}"


def test_a_rule_that_calls_a_program_is_not_traced_and_does_not_call_itself(traces):
    judge = dspy.Predict("text -> secret: bool")
    called = []

    def rule(text):
        called.append(text)
        judge(text=text, lm=scripted_lm({"secret": "False"}))
        return text.replace("Ada", "[NAME]")

    mlflow.dspy.autolog(redact=rule)
    PREDICT(question="Is it Ada?")
    [found] = traces()
    assert spans_named(found, "Predict.forward")[0].inputs == {"question": "Is it [NAME]?"}
    assert len(called) < 100


def cyclic():
    value = {}
    value["self"] = value
    return value


class Denying(dict):
    def items(self):
        raise ValueError("no items")


class Nameless:
    @property
    def __class__(self):
        raise ValueError("no class")


class Holding(dspy.Module):
    def __init__(self, value):
        super().__init__()
        self._value = value

    def forward(self):
        return dspy.Prediction(value=self._value, fine="yes")


@pytest.mark.parametrize("make", [cyclic, Denying, Nameless], ids=lambda make: make.__name__)
def test_a_prediction_that_holds_what_cannot_be_shown_keeps_its_other_fields_and_its_trace(make, trace):
    prediction = Holding(make())()
    found = trace()
    assert found.data.spans[0].outputs["fine"] == "yes"
    assert mlflow.dspy.trace_id_of(prediction) == found.info.trace_id


class Unready(dspy.Module):
    """Its properties raise before it is ready."""

    def __init__(self):
        super().__init__()
        self.ask = PREDICT

    @property
    def signature(self):
        raise RuntimeError("not ready")

    predict = tools = signature

    def forward(self, question):
        return self.ask(question=question)


@dataclasses.dataclass
class Unhashable(dspy.Module):
    """Equal to others by its fields, and so without a hash."""

    k: int = 1

    def forward(self, question):
        return PREDICT(question=question)


@pytest.mark.parametrize("kind", [Unready, Unhashable], ids=lambda kind: kind.__name__)
def test_a_program_that_cannot_be_asked_what_it_is_has_its_whole_trace(kind, trace):
    with warnings_logged() as said:
        kind()(question="q")
    found = trace()
    line = f"{kind.__name__}.forward CHAIN OK {{'question': 'q'}} -> {{'answer': 'a'}}"
    assert outline(found) == under(line, predictor(ASKED))
    assert found.data.spans[0].attributes["dspy.program.graph"].startswith("graph TD")
    assert said == []


def test_instructions_that_are_set_later_are_those_that_are_shown(traces):
    predict = dspy.Predict("question -> answer")
    predict(question="q")
    predict.signature.instructions = "Answer in one word."
    predict(question="q")
    shown = [found.data.spans[0].attributes["instructions"] for found in traces()]
    assert sorted(shown) == ["Answer in one word.", "Given the fields `question`, produce the fields `answer`."]


def test_the_graph_follows_a_part_of_a_part_that_was_replaced(traces):
    class Outer(dspy.Module):
        def __init__(self):
            super().__init__()
            self.inner = Unready()

        def forward(self, question):
            return self.inner(question=question)

    program = Outer()
    program(question="q")
    program.inner.ask = dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=scripted_lm({"reasoning": "r", "answer": "a"})):
        program(question="q")
    graphs = sorted(found.data.spans[0].attributes["dspy.program.graph"] for found in traces())
    assert ["ChainOfThought" in graph for graph in graphs] == [True, False]


def test_what_two_programs_in_a_span_of_the_user_share_is_stored_as_often_as_what_one_has(traces):
    long = "word " * 10_000
    for calls in (1, 2):
        with mlflow.start_span("mine"):
            for _ in range(calls):
                PREDICT(question=long)
    one, two = (found.to_json().count(long[:20_000]) for found in traces())
    assert one == two

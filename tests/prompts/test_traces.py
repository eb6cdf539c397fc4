"""Traces are linked to the versions of prompts that were used, and to no others."""

import gc
import json

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.programs import prompt_versions
from mlflow_dspy_plugin.seams.prompts import _SPAN_PROMPTS
from tests.fakes.scripted import scripted_lm


@pytest.fixture(autouse=True)
def answering():
    mlflow.dspy.autolog()
    dspy.configure(lm=scripted_lm(lambda *_: {"answer": "bear", "reasoning": "why"}))


def loaded(name="qa", demos=()):
    program = dspy.Predict("question -> answer")
    program.demos = list(demos)
    mlflow.dspy.register_prompts(program, name)
    return mlflow.dspy.load_prompts(dspy.Predict("question -> answer"), f"prompts:/{name}@latest")


def linked(trace):
    return json.loads(trace.info.tags.get("mlflow.linkedPrompts", "[]"))


def test_a_trace_names_the_version_that_its_predictor_says(traces):
    loaded()
    program = loaded()
    program(question="Who?")
    program(question="What?")
    found = traces()
    assert [linked(trace) for trace in found] == [[{"name": "qa", "version": "2"}]] * 2
    if _SPAN_PROMPTS is not None:
        assert found[0].data.spans[0].attributes[_SPAN_PROMPTS] == [{"name": "qa", "version": "2"}]
        assert len(mlflow.search_traces(filter_string="prompt = 'qa/2'", return_type="list")) == 2


def test_a_trace_names_each_version_once(traces):
    class Several(dspy.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = loaded("first"), loaded("second")

        def forward(self, question):
            return [self.first(question=question), self.second(question=question), self.first(question=question)]

    Several()(question="Who?")
    assert linked(*traces()) == [{"name": "first", "version": "1"}, {"name": "second", "version": "1"}]


@pytest.mark.parametrize("copied", [lambda p: p, lambda p: p.deepcopy(), lambda p: p.reset_copy()])
def test_copies_that_say_the_same_are_linked(copied, traces):
    copied(loaded())(question="Who?")
    assert linked(*traces()) == [{"name": "qa", "version": "1"}]


def test_a_copy_with_the_same_demos_is_linked(traces):
    loaded(demos=[dspy.Example(question=["Who?"], answer="bear")]).deepcopy()(question="Who?")
    assert linked(*traces()) == [{"name": "qa", "version": "1"}]


def changed_instructions(program):
    program.signature = program.signature.with_instructions("Other.")


def changed_demos(program):
    program.demos = [dspy.Example(question="a", answer="b")]


def changed_instructions_in_place(program):
    program.signature.instructions = "Other."


def changed_words_in_place(program):
    program.signature.fields["answer"].json_schema_extra["desc"] = "other"


def changed_demo_in_place(program):
    program.demos[0]["answer"] = "other"


def changed_value_of_a_demo_in_place(program):
    program.demos[0].question.append("other")


CHANGES = [
    changed_instructions,
    changed_demos,
    changed_instructions_in_place,
    changed_words_in_place,
    changed_demo_in_place,
    changed_value_of_a_demo_in_place,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_since_is_not_linked(change, traces):
    program = loaded(demos=[dspy.Example(question=["Who?"], answer="bear")])
    change(program)
    program(question="Who?")
    assert linked(*traces()) == []


def test_the_version_is_forgotten_with_the_program():
    before = len(prompt_versions._versions._references)
    for _ in range(3):
        loaded()
    gc.collect()
    assert len(prompt_versions._versions._references) <= before


def test_the_active_run_is_linked_to_what_is_loaded():
    mlflow.dspy.register_prompts(dspy.Predict("question -> answer"), "qa")
    with mlflow.start_run() as run:
        mlflow.dspy.load_prompts(dspy.Predict("question -> answer"), "prompts:/qa/1")
    assert json.loads(mlflow.get_run(run.info.run_id).data.tags["mlflow.linkedPrompts"]) == [
        {"name": "qa", "version": "1"}
    ]

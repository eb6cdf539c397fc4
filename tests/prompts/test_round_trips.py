"""Registered and loaded again, a program sends its language model the same bytes."""

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import PromptError
from mlflow_dspy_plugin.prompts.predictors import Learnt, learnt_from, text_of
from mlflow_dspy_plugin.prompts.wording import read
from tests.plain.field_types import all_types
from tests.plain.recorded import recording, sent

TYPES = all_types()
# A tuple where the type says nothing of one, and a member of an enum that a Literal does not read.
REFUSED = {"anything", "local_choice"}
QUESTION = {"question": "Who sails {{question}}?"}


class Two(dspy.Module):
    """A program of several predictors, one in a list."""

    def __init__(self):
        super().__init__()
        self.draft = dspy.ChainOfThought("question -> draft")
        self.steps = [dspy.Predict("question, draft -> answer")]

    def forward(self, question):
        return self.steps[0](question=question, draft=self.draft(question=question).draft)


def learnt(program: dspy.Module) -> dspy.Module:
    """A program after an optimizer: other instructions, words and demos."""
    for number, predictor in enumerate(program.predictors()):
        text = f"Use {{{{braces}}}}.\n\n--- demo ---\n  {{% and %}} blanks, number {number}"
        predictor.signature = predictor.signature.with_instructions(text)
        last = list(predictor.signature.fields)[-1]
        predictor.signature = predictor.signature.with_updated_fields(last, prefix="P:", desc=" one {{word}}\n")
        names = list(predictor.signature.fields)
        predictor.demos = [
            dspy.Example(augmented=True, **{name: f"{{{{{name}}}}}\n {number}" for name in names}),
            dspy.Example(dict.fromkeys(names[:-1], "x")).with_inputs("question"),
            dict.fromkeys(names, " y "),
        ]
    return program


@pytest.mark.parametrize("make", [Two, lambda: dspy.ChainOfThought("question -> answer")], ids=["two", "one"])
@pytest.mark.parametrize("adapter", [dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter])
def test_a_program_sends_the_same_bytes_after_the_registry(make, adapter):
    before, after = learnt(make()), make()
    mlflow.dspy.register_prompts(before, "qa", alias="production")
    assert mlflow.dspy.load_prompts(after, "prompts:/qa@production") is after
    with recording({"draft": "a draft"}) as server, dspy.context(adapter=adapter()):
        as_it_was = sent(lambda: before(**QUESTION), server)
        fresh = sent(lambda: make()(**QUESTION), server)
        as_it_is = sent(lambda: after(**QUESTION), server)
    assert as_it_is == as_it_was != fresh
    for one, other in zip(before.predictors(), after.predictors(), strict=True):
        assert [type(demo) for demo in one.demos] == [type(demo) for demo in other.demos]
        assert one.demos == other.demos
        assert one.demos[1].inputs() == other.demos[1].inputs()


@pytest.mark.parametrize("name", TYPES)
def test_a_demo_of_every_type_comes_back_or_is_refused_by_name(name):
    kind = TYPES[name]
    if kind.value is None and kind.written is None:
        pytest.skip("has no value")
    signature = dspy.Signature({"given": (kind.annotation, dspy.InputField()), "answer": (str, dspy.OutputField())})
    predictor = dspy.Predict(signature)
    predictor.demos = [dspy.Example(given=kind.value, answer="x")]
    try:
        text = text_of(predictor, "qa")
    except PromptError as error:
        assert f"The field 'given' in demo 1 of qa holds a {type(kind.value).__name__}" in error.message
        assert name in REFUSED
        return
    assert name not in REFUSED
    fresh = dspy.Predict(signature)
    learnt_from(read(text, "qa"), Learnt.of(fresh), "qa").lay_over(fresh)
    # DSPy makes some types anew whenever they are written, and pydantic has a time zone of its own.
    assert repr(fresh.demos) == repr(predictor.demos) or fresh.demos == predictor.demos
    adapter = dspy.ChatAdapter()
    assert adapter.format_demos(fresh.signature, fresh.demos) == adapter.format_demos(signature, predictor.demos)


def search(query: str, limit: int = 3) -> list[str]:
    """Find {{query}} in {"a": {"b": 1}}.

    --- demo ---
    """
    return [query] * limit


@pytest.mark.parametrize(
    "make",
    [
        lambda: dspy.ReAct("question -> answer: list[str]", tools=[search]),
        lambda: dspy.ProgramOfThought("question -> answer: float"),
        lambda: dspy.MultiChainComparison("question -> answer", M=2),
        lambda: dspy.BestOfN(dspy.ChainOfThought("question -> answer"), 2, lambda *_: 1.0, 0.5),
    ],
    ids=["react", "program of thought", "comparison", "best of n"],
)
def test_what_the_predictors_of_dspys_own_modules_say_comes_back(make):
    before, after = make(), learnt(make())
    versions = mlflow.dspy.register_prompts(before, "own")
    mlflow.dspy.load_prompts(after, "prompts:/own/1")
    assert len(versions) == len(before.predictors()) > 0
    for one, other in zip(before.predictors(), after.predictors(), strict=True):
        assert one.signature.instructions == other.signature.instructions
        assert repr(one.signature.fields) == repr(other.signature.fields)
        assert one.demos == other.demos
    for version in versions.values():
        inputs = {name for each in before.predictors() for name in each.signature.input_fields}
        assert version.variables <= inputs


@pytest.mark.parametrize("instructions", ["", "a\n  b", "  a\nb", "\n\na\n\n", "a\n\n  b\n    c\n", "a\tb\n\tc"])
def test_instructions_come_back_as_dspy_reads_them(instructions):
    before, after = (dspy.Predict("question -> answer") for _ in range(2))
    before.signature = before.signature.with_instructions(instructions)
    learnt_from(read(text_of(before, "qa"), "qa"), Learnt.of(after), "qa").lay_over(after)
    assert after.signature.instructions == before.signature.instructions


def test_loading_changes_no_other_program_of_the_same_signature():
    class Asks(dspy.Signature):
        """Answer."""

        question: str = dspy.InputField(desc="as asked")
        answer: str = dspy.OutputField()

    before, after, other = (dspy.Predict(Asks) for _ in range(3))
    mlflow.dspy.register_prompts(learnt(before), "qa")
    mlflow.dspy.load_prompts(after, "prompts:/qa@latest")
    assert after.signature.instructions == before.signature.instructions
    assert other.signature is Asks and Asks.instructions == "Answer."
    assert Asks.fields["answer"].json_schema_extra["prefix"] == "Answer:"
    assert other.demos == []


def test_each_registration_is_a_version_and_each_version_loads():
    program, versions = dspy.Predict("question -> answer"), []
    for text in ("One.", "Two."):
        program.signature = program.signature.with_instructions(text)
        versions.append(mlflow.dspy.register_prompts(program, "qa", commit_message=f"Say {text}")["self"])
    assert [version.version for version in versions] == [1, 2]
    assert versions[1].commit_message == "Say Two."
    mlflow.dspy.load_prompts(program, "prompts:/qa/1")
    assert program.signature.instructions == "One."
    mlflow.dspy.load_prompts(program, "prompts:/qa@latest")
    assert program.signature.instructions == "Two."


def test_a_version_says_of_what_it_is_and_which_run_found_it():
    with mlflow.start_run() as run:
        versions = mlflow.dspy.register_prompts(Two(), "qa", tags={"team": "bears"})
    assert {predictor: version.name for predictor, version in versions.items()} == {
        "draft.predict": "qa.draft.predict",
        "steps[0]": "qa.steps.0",
    }
    assert (
        versions["steps[0]"].tags.items()
        >= {
            "team": "bears",
            "dspy_program": "Two",
            "dspy_predictor": "steps[0]",
            "dspy_signature": "question, draft -> answer",
            "dspy_run_id": run.info.run_id,
        }.items()
    )
    linked = mlflow.get_run(run.info.run_id).data.tags["mlflow.linkedPrompts"]
    assert "qa.draft.predict" in linked and "qa.steps.0" in linked


def test_a_prompt_written_by_hand_is_instructions_and_leaves_demos_and_fields():
    program = learnt(dspy.Predict("question -> answer"))
    demos, fields = list(program.demos), repr(program.signature.fields)
    mlflow.genai.register_prompt("by-hand", "Answer {{question}} in one word.")
    mlflow.dspy.load_prompts(program, "prompts:/by-hand/1")
    assert program.signature.instructions == "Answer `question` in one word."
    assert program.demos == demos and repr(program.signature.fields) == fields

"""What cannot stand in the registry, or does not fit a program, is refused with the item's name, and nothing is half done."""

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin.errors import PromptError, SecretError

CANARY = "sk-canary-8f3a1b5c7d9e2f4a6b8c0d1e3f5a7b9c"


class Opaque:
    """A value that nothing reads from JSON."""


def registered(program, name="qa"):
    return mlflow.dspy.register_prompts(program, name)


def asks(*demos, instructions="Answer."):
    program = dspy.Predict("question -> answer")
    program.signature = program.signature.with_instructions(instructions)
    program.demos = list(demos)
    return program


def nothing_is_registered():
    return not mlflow.genai.search_prompts()


@pytest.mark.parametrize(
    "program",
    [
        asks(instructions=f"Use the key {CANARY}."),
        asks(dspy.Example(question=f"Is {CANARY} a key?", answer="yes")),
        asks(dspy.Example(question="What?", answer={"deep": [f"Bearer {CANARY}"]})),
        asks({"question": "key-of-the-tests-0", "answer": "the environment's"}),
    ],
    ids=["instructions", "demo", "deep in a demo", "of the environment"],
)
def test_a_secret_is_refused_and_not_told(program, store):
    with pytest.raises(SecretError, match="The prompt qa would hold a text that looks like a secret") as caught:
        registered(program)
    assert CANARY not in str(caught.value)
    assert nothing_is_registered()


@pytest.mark.parametrize("key", [CANARY, "key-of-the-tests-0"], ids=["known by its form", "of the environment"])
def test_no_secret_reaches_the_registry_by_the_message_or_the_tags(key, store):
    mlflow.dspy.register_prompts(asks(), "qa", commit_message=f"Found with {key}", tags={"how": key})
    assert key.encode() not in store.read_bytes()


def test_a_prompt_that_is_too_long_names_its_longest_part():
    longest = dspy.Example(question="q" * 60_000, answer="a")
    with pytest.raises(PromptError, match=r"qa would have 1\d\d,\d{3} characters, of which demo 2 has 60,\d{3}"):
        registered(asks(dspy.Example(question="q" * 50_000, answer="a"), longest))
    assert nothing_is_registered()


def test_the_longest_prompt_that_mlflow_takes_is_registered_and_comes_back():
    program, fresh = asks(), asks()
    program.signature = program.signature.with_instructions("x" * 99_800)
    version = registered(program)["self"]
    assert 99_800 < len(version.template) <= 100_000
    assert mlflow.dspy.load_prompts(fresh, "prompts:/qa/1").signature.instructions == "x" * 99_800


def test_a_value_that_has_no_text_is_named_with_its_demo_and_field():
    program = dspy.ChainOfThought("question -> answer")
    program.predict.demos = [dspy.Example(question="a", answer="b"), dspy.Example(question=Opaque(), answer="b")]
    with pytest.raises(PromptError, match="The field 'question' in demo 2 of qa holds a Opaque"):
        registered(program)
    assert nothing_is_registered()


def test_where_one_predictor_is_refused_none_is_registered():
    class Two(dspy.Module):
        def __init__(self):
            super().__init__()
            self.good, self.bad = asks(), asks(dspy.Example(question=object()))

    with pytest.raises(PromptError, match="demo 1 of qa.bad"):
        registered(Two())
    assert nothing_is_registered()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", None])
def test_a_name_that_is_none_of_a_prompt_is_refused(name):
    with pytest.raises(PromptError, match="cannot name a prompt"):
        registered(asks(), name)


def test_the_name_of_a_model_is_refused_before_any_prompt_is_registered():
    class Two(dspy.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = asks(), asks()

    mlflow.MlflowClient().create_registered_model("qa.second")
    with pytest.raises(PromptError, match="The registry has a model 'qa.second', and no prompt can have its name"):
        registered(Two())
    assert nothing_is_registered()


@pytest.mark.parametrize("alias", ["latest", "Latest", "v1", "", "a b", "x" * 300, 3])
def test_what_cannot_be_an_alias_is_refused_before_any_prompt_is_registered(alias):
    with pytest.raises(PromptError, match=f"{alias!r} cannot be an alias"):
        mlflow.dspy.register_prompts(asks(), "qa", alias=alias)
    assert nothing_is_registered()


def test_a_run_that_is_not_there_is_refused_before_any_prompt_is_registered():
    with mlflow.start_run() as run:
        pass
    mlflow.delete_run(run.info.run_id)
    for run_id, told in (("0" * 32, "cannot be had"), (run.info.run_id, "is deleted")):
        with pytest.raises(PromptError, match=f"The run '{run_id}' {told}"):
            mlflow.dspy.register_prompts(asks(), "qa", run_id=run_id)
    assert nothing_is_registered()


@pytest.mark.parametrize("program", ["dspy.Predict", None, dspy.Predict])
def test_what_is_no_program_is_refused(program):
    with pytest.raises(PromptError, match="Prompts are those of a dspy.Module"):
        registered(program)
    with pytest.raises(PromptError, match="Prompts are those of a dspy.Module"):
        mlflow.dspy.load_prompts(program, "prompts:/qa/1")


def test_a_program_without_predictors_is_refused():
    with pytest.raises(PromptError, match="Module has no predictor"):
        registered(dspy.Module())


def test_predictors_whose_prompts_would_have_one_name_are_refused():
    program = dspy.Module()
    program.steps, program.steps_ = [asks()], asks()
    setattr(program, "steps.0", asks())
    with pytest.raises(PromptError, match="would both be the prompt 'qa.steps.0'"):
        registered(program)


@pytest.mark.parametrize("uri", ["qa", "prompts:/qa", "prompts:/qa/x", "models:/qa/1", "prompts:/a b@c", "", None, 3])
def test_what_is_no_uri_of_prompts_is_refused(uri):
    with pytest.raises(PromptError, match="is no URI of prompts"):
        mlflow.dspy.load_prompts(asks(), uri)


@pytest.mark.parametrize(
    ("uri", "missing"),
    [
        ("prompts:/none/1", "'none' with the version 1"),
        ("prompts:/none@latest", "'none' with the alias 'latest'"),
        ("prompts:/qa/7", "'qa' with the version 7"),
        ("prompts:/qa@production", "'qa' with the alias 'production'"),
    ],
)
def test_a_prompt_that_is_not_there_is_named(uri, missing):
    registered(asks())
    with pytest.raises(
        PromptError, match=f"The registry has no prompt {missing}, which the predictor 'self' is to say"
    ):
        mlflow.dspy.load_prompts(asks(), uri)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Answer {{query}}.", r"has the variable \{\{query\}\}, but the inputs of its predictor are question"),
        ("Answer {{answer}}.", r"has the variable \{\{answer\}\}, but the inputs"),
        ("A.\n\n--- fields ---\nquery: str\nanswer: str", "is for the fields query, answer, but its predictor has"),
        ("A.\n\n--- fields ---\nquestion: str", "is for the fields question, but its predictor has"),
        ("A.\n\n--- demo ---\nnonsense", "cannot be read: line 4 is 'nonsense'"),
        (
            "A.\n\n--- fields ---\nquestion: str\nanswer: str\n\n--- demo ---\nanswer (typed) = 3",
            "The field 'answer' in demo 1 of 'by-hand', version 1, is none of its type",
        ),
    ],
    ids=["unknown", "an output", "other fields", "fewer fields", "unreadable", "a value of another type"],
)
def test_a_prompt_that_does_not_fit_is_refused_and_the_program_stays_as_it_was(text, reason):
    program = asks(dspy.Example(question="a", answer="b"))
    before = (program.signature, list(program.demos))
    mlflow.genai.register_prompt("by-hand", text)
    with pytest.raises(PromptError, match=reason):
        mlflow.dspy.load_prompts(program, "prompts:/by-hand/1")
    assert (program.signature, program.demos) == before


def test_no_predictor_is_changed_where_the_prompt_of_another_does_not_fit():
    class Two(dspy.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = asks(), asks()

    mlflow.genai.register_prompt("two.first", "Other.")
    mlflow.genai.register_prompt("two.second", "Other {{nothing}}.")
    program = Two()
    with pytest.raises(PromptError, match="'two.second', version 1, has the variable"):
        mlflow.dspy.load_prompts(program, "prompts:/two/1")
    assert program.first.signature.instructions == "Answer."


def test_a_prompt_of_chat_messages_is_refused():
    mlflow.genai.register_prompt("chat", [{"role": "system", "content": "Answer {{question}}."}])
    with pytest.raises(PromptError, match="'chat', version 1, is one of chat messages"):
        mlflow.dspy.load_prompts(asks(), "prompts:/chat/1")


@pytest.mark.parametrize("kind", [dspy.Image, dspy.Audio], ids=["image", "audio"])
@pytest.mark.parametrize("content", ['"{path}"', '{{"url": "{path}"}}'], ids=["text", "object"])
def test_a_prompt_that_names_a_file_of_this_machine_is_refused(kind, content, tmp_path):
    path = tmp_path / "private.wav"
    path.write_bytes(b"private")
    program = dspy.Predict(dspy.Signature({"seen": (kind, dspy.InputField()), "answer": (str, dspy.OutputField())}))
    demo = f"--- demo ---\nseen (typed) = {content.format(path=path)}"
    mlflow.genai.register_prompt("by-hand", f"A.\n\n--- fields ---\nseen: x\nanswer: str\n\n{demo}")
    with pytest.raises(PromptError, match="The field 'seen' in demo 1 of 'by-hand', version 1, is none of its type"):
        mlflow.dspy.load_prompts(program, "prompts:/by-hand/1")
    assert program.demos == []

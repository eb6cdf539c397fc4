"""Traces, and what was said of them, as examples: against programs that were traced into a real store."""

import base64
import datetime
from typing import Literal

import dspy
import mlflow
import pytest
from mlflow.entities import AssessmentSource

from mlflow_dspy_plugin.errors import DatasetError
from tests.fakes.scripted import scripted_lm
from tests.genai.kinds import Address, Mood

ADA = AssessmentSource(source_type="HUMAN", source_id="ada")
JUDGE = AssessmentSource(source_type="LLM_JUDGE", source_id="gpt")
HAS_ATTACHMENTS = hasattr(mlflow.tracing, "attachments")
# Put together here, so that it stands nowhere else.
KEY = "-".join(["sk", "canary0f9e8d7c6b5a4938271605f4e3d2c1b0a9"])


class Draft(dspy.Module):
    """Answers, and looks at the answer again."""

    def __init__(self):
        super().__init__()
        self.write = dspy.ChainOfThought("question -> draft")
        self.check = dspy.Predict("question, draft -> answer, sure: bool")

    def forward(self, question, hint=None):
        written = self.write(question=question)
        return self.check(question=question, draft=written.draft)


@pytest.fixture(autouse=True)
def tracing(store):
    mlflow.dspy.autolog()
    dspy.configure(lm=scripted_lm({"reasoning": "r", "draft": "d", "answer": "a", "sure": "True"}))


@pytest.fixture
def call():
    """Calls a program and tells the id of the trace."""

    def call_(program=None, **inputs):
        return mlflow.dspy.trace_id_of((program or Draft())(**inputs))

    return call_


def span_of(trace_id, signature):
    return next(
        span.span_id
        for span in mlflow.get_trace(trace_id).data.spans
        if span.attributes.get("signature") == signature and span.name.startswith("Predict")
    )


def told(examples):
    return [(dict(each.items()), each._input_keys) for each in examples]


def test_an_expectation_corrects_the_output_of_its_name(call):
    trace_id = call(question="why")
    mlflow.log_expectation(trace_id=trace_id, name="answer", value="b", source=ADA)
    examples = mlflow.dspy.examples_from_traces()
    assert told(examples) == [({"question": "why", "answer": "b", "sure": True}, {"question"})]
    assert examples.trace_ids == [trace_id] and not examples.skipped


def test_a_persons_feedback_under_the_name_of_an_output_corrects_it(call):
    trace_id = call(question="why")
    mlflow.log_feedback(trace_id=trace_id, name="answer", value="b", source=ADA)
    mlflow.log_feedback(trace_id=trace_id, name="sure", value=False, source=ADA)
    assert told(mlflow.dspy.examples_from_traces()) == [
        ({"question": "why", "answer": "b", "sure": False}, {"question"})
    ]


@pytest.mark.parametrize("value", ["correct", "Yes", True])
def test_a_persons_yes_under_the_name_of_an_output_accepts_it(call, value):
    mlflow.log_feedback(trace_id=call(question="why"), name="answer", value=value, source=ADA)
    for options in ({}, {"program": Draft()}):
        assert [each.answer for each in mlflow.dspy.examples_from_traces(**options)] == ["a"]


@pytest.mark.parametrize("value", ["no", "wrong", False])
@pytest.mark.parametrize("name", ["answer", "expected_response"])
def test_a_persons_no_under_the_name_of_an_output_rejects_it(call, name, value):
    trace_id = call(dspy.Predict("question -> answer"), question="why")
    mlflow.log_feedback(trace_id=trace_id, name=name, value=value, source=ADA)
    assert mlflow.dspy.examples_from_traces().skipped == {"rejected": 1}


@pytest.mark.parametrize(("given", "value"), [("yes", "no"), ("Positive", "negative"), ("neutral", "positive")])
def test_where_the_output_is_such_a_word_another_of_its_pair_corrects_it(call, given, value):
    dspy.configure(lm=scripted_lm({"answer": given}))
    program = dspy.Predict("question -> answer")
    mlflow.log_feedback(trace_id=call(program, question="why"), name="answer", value=value, source=ADA)
    assert [each.answer for each in mlflow.dspy.examples_from_traces()] == [value]
    mlflow.log_feedback(trace_id=call(program, question="how"), name="answer", value="correct", source=ADA)
    assert [each.answer for each in mlflow.dspy.examples_from_traces()] == [given, value]


@pytest.mark.parametrize("kind", ["Literal['unknown', 'yes']", "Literal['unknown', 'yes'] | None"])
def test_where_the_output_is_one_of_some_words_they_correct_it(call, kind):
    dspy.configure(lm=scripted_lm({"answer": "unknown"}))
    program = dspy.Predict(dspy.Signature(f"question -> answer: {kind}"))
    mlflow.log_feedback(trace_id=call(program, question="why"), name="answer", value="yes", source=ADA)
    for options in ({"program": program}, {"predictor": program}):
        assert [each.answer for each in mlflow.dspy.examples_from_traces(**options)] == ["yes"]


def test_an_expectation_corrects_whatever_word_it_is(call):
    mlflow.log_expectation(trace_id=call(question="why"), name="answer", value="no", source=ADA)
    assert [each.answer for each in mlflow.dspy.examples_from_traces()] == ["no"]


@pytest.mark.parametrize("value", [True, "yes", "Correct", "👍"])
def test_a_persons_yes_accepts_the_outputs(call, value):
    mlflow.log_feedback(trace_id=call(question="why"), name="helpful", value=value, source=ADA)
    assert told(mlflow.dspy.examples_from_traces()) == [
        ({"question": "why", "answer": "a", "sure": True}, {"question"})
    ]


@pytest.mark.parametrize("value", [False, "no", "Incorrect"])
def test_a_persons_no_rejects_the_outputs_whatever_else_is_said(call, value):
    trace_id = call(question="why")
    mlflow.log_feedback(trace_id=trace_id, name="helpful", value=value, source=ADA)
    mlflow.log_feedback(trace_id=trace_id, name="polite", value=True, source=ADA)
    examples = mlflow.dspy.examples_from_traces()
    assert examples == [] and examples.skipped == {"rejected": 1}


def test_a_correction_outweighs_a_no(call):
    trace_id = call(question="why")
    mlflow.log_feedback(trace_id=trace_id, name="answer", value=False, source=ADA)
    mlflow.log_expectation(trace_id=trace_id, name="expected", value={"answer": "b", "sure": False})
    assert told(mlflow.dspy.examples_from_traces()) == [
        ({"question": "why", "answer": "b", "sure": False}, {"question"})
    ]


def test_what_judges_and_code_say_decides_nothing(call):
    trace_id = call(question="why")
    mlflow.log_feedback(trace_id=trace_id, name="correct", value=True, source=JUDGE)
    mlflow.log_feedback(trace_id=trace_id, name="answer", value="b", source=AssessmentSource("CODE", "f"))
    mlflow.log_feedback(trace_id=trace_id, name="rating", value=4, source=ADA)
    examples = mlflow.dspy.examples_from_traces()
    assert examples == [] and examples.skipped == {"unjudged": 1}
    assert told(mlflow.dspy.examples_from_traces(unjudged=True))[0][0]["answer"] == "a"


def test_the_last_that_was_said_under_a_name_counts(call):
    trace_id = call(question="why")
    said = mlflow.log_feedback(trace_id=trace_id, name="helpful", value=False, source=ADA)
    mlflow.override_feedback(trace_id=trace_id, assessment_id=said.assessment_id, value=True, source=ADA)
    assert len(mlflow.dspy.examples_from_traces()) == 1


def test_expected_response_speaks_of_the_only_output(call):
    program = dspy.ChainOfThought("question -> answer")
    mlflow.log_expectation(trace_id=call(program, question="why"), name="expected_response", value="b")
    # The reasoning has led to another answer.
    assert told(mlflow.dspy.examples_from_traces()) == [({"question": "why", "answer": "b"}, {"question"})]


def test_reasoning_is_kept_where_the_answer_was_right(call):
    program = dspy.ChainOfThought("question -> answer")
    mlflow.log_expectation(trace_id=call(program, question="why"), name="answer", value="a")
    (example,) = mlflow.dspy.examples_from_traces()
    assert dict(example.items()) == {"question": "why", "reasoning": "r", "answer": "a"}


def test_assessments_of_other_names_can_be_mapped_to_outputs(call):
    mlflow.log_expectation(trace_id=call(question="why"), name="truth", value="b")
    (example,) = mlflow.dspy.examples_from_traces(fields={"truth": "answer"})
    assert example.answer == "b"


def test_calls_with_the_same_inputs_are_one_example_and_the_last_word_counts(call):
    first, second, third = (call(question="why") for _ in range(3))
    mlflow.log_expectation(trace_id=second, name="answer", value="of the second")
    mlflow.log_expectation(trace_id=first, name="answer", value="of the first")
    examples = mlflow.dspy.examples_from_traces(unjudged=True)
    assert [example.answer for example in examples] == ["of the first"]
    assert examples.trace_ids == [first] and examples.skipped == {"duplicate": 2}


@pytest.fixture
def says(call):
    """Calls a program that answers so, and has a person find it right or wrong; tells the id of the trace."""

    def says_(answer, is_right=None, reasoning="r"):
        dspy.configure(lm=scripted_lm({"answer": answer, "reasoning": reasoning}))
        trace_id = call(dspy.ChainOfThought("question -> answer"), question="why")
        if is_right is not None:
            mlflow.log_feedback(trace_id=trace_id, name="is_right", value=is_right, source=ADA)
        return trace_id

    return says_


@pytest.mark.parametrize("before", [True, None], ids=["accepted before", "not judged before"])
def test_an_answer_that_was_rejected_later_is_no_example(says, before):
    says("a", before)
    says("a", False, reasoning="for another reason")
    examples = mlflow.dspy.examples_from_traces(unjudged=True)
    assert examples == [] and examples.skipped == {"rejected": 2}


def test_an_answer_that_was_accepted_later_is_an_example(says):
    says("a", False)
    trace_id = says("a", True)
    examples = mlflow.dspy.examples_from_traces()
    assert examples.trace_ids == [trace_id] and examples.skipped == {"rejected": 1}


def test_a_no_to_one_answer_says_nothing_of_another(says):
    says("a", True)
    says("b", True)
    says("b", False)
    examples = mlflow.dspy.examples_from_traces()
    assert [each.answer for each in examples] == ["a"] and examples.skipped == {"rejected": 2}


def test_a_correction_is_rejected_with_the_answer_that_it_is(says):
    mlflow.log_expectation(trace_id=says("a"), name="answer", value="b")
    says("b", False)
    assert mlflow.dspy.examples_from_traces().skipped == {"rejected": 2}


def test_a_failed_call_gives_an_example_if_it_was_corrected(call):
    dspy.configure(lm=scripted_lm(ValueError("no")))
    with pytest.raises(Exception, match="no"):
        Draft()(question="why")
    (trace,) = mlflow.search_traces(return_type="list")
    assert mlflow.dspy.examples_from_traces(unjudged=True).skipped == {"unjudged": 1}
    mlflow.log_expectation(trace_id=trace.info.trace_id, name="answer", value="b")
    assert told(mlflow.dspy.examples_from_traces()) == [({"question": "why", "answer": "b"}, {"question"})]


class Failing(dspy.Module):
    def forward(self, question):
        raise ValueError("no")


@pytest.fixture
def failed():
    """Calls a program that fails, and tells the id of the trace."""

    def failed_(program, **inputs):
        dspy.configure(lm=scripted_lm(ValueError("no")))
        with pytest.raises(Exception, match="no"):
            program(**inputs)
        (trace,) = mlflow.search_traces(return_type="list")
        return trace.info.trace_id

    return failed_


def test_of_a_failed_call_nothing_is_a_label_that_is_no_output(failed):
    trace_id = failed(Failing(), question="why")
    for name in ("guidelines", "expected_facts", "expected_response"):
        mlflow.log_expectation(trace_id=trace_id, name=name, value=["be kind"])
    for options in ({}, {"program": Failing()}):
        assert mlflow.dspy.examples_from_traces(**options).skipped == {"unjudged": 1}


class Asking(dspy.Module):
    """Has one predictor, whose outputs are its own."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.ChainOfThought("question -> answer")

    def forward(self, question):
        return self.ask(question=question)


@pytest.mark.parametrize(
    ("program", "options", "name"),
    [
        (dspy.ChainOfThought("question -> answer"), {}, "expected_response"),
        (Asking(), {"program": Asking()}, "expected_response"),
        (Asking(), {"predictor": Asking().ask}, "answer"),
    ],
    ids=["signature", "program", "predictor"],
)
def test_of_a_failed_call_the_signature_tells_the_outputs(failed, program, options, name):
    trace_id = failed(program, question="why")
    mlflow.log_expectation(trace_id=trace_id, name="guidelines", value=["be kind"])
    mlflow.log_expectation(trace_id=trace_id, name="tone", value="kind")
    assert mlflow.dspy.examples_from_traces(**options).skipped == {"unjudged": 1}
    mlflow.log_expectation(trace_id=trace_id, name=name, value="b")
    assert told(mlflow.dspy.examples_from_traces(**options)) == [({"question": "why", "answer": "b"}, {"question"})]


# -- one predictor --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "predictor", ["question -> draft", Draft().write, Draft().write.predict, dspy.Signature("question -> draft")]
)
def test_one_predictor_has_examples_of_its_own(call, predictor):
    trace_id = call(question="why")
    span_id = span_of(trace_id, "question -> reasoning, draft")
    mlflow.log_expectation(trace_id=trace_id, span_id=span_id, name="draft", value="better")
    assert told(mlflow.dspy.examples_from_traces(predictor=predictor)) == [
        ({"question": "why", "draft": "better"}, {"question"})
    ]
    # It says nothing of the program.
    assert mlflow.dspy.examples_from_traces().skipped == {"unjudged": 1}


def test_what_is_said_of_a_trace_holds_for_the_predictor_that_has_the_field(call):
    mlflow.log_expectation(trace_id=call(question="why"), name="answer", value="b")
    (example,) = mlflow.dspy.examples_from_traces(predictor=Draft().check)
    assert dict(example.items()) == {"question": "why", "draft": "d", "answer": "b", "sure": True}
    assert example._input_keys == {"question", "draft"}
    assert mlflow.dspy.examples_from_traces(predictor=Draft().write).skipped == {"unjudged": 1}


@pytest.mark.parametrize("options", [{}, {"fields": {"truth": "expected_response"}}], ids=str)
def test_what_the_one_output_of_the_program_should_be_is_no_label_of_a_step_before_it(call, options):
    class Rag(dspy.Module):
        def __init__(self):
            super().__init__()
            self.ask = dspy.Predict("question -> draft")
            self.answer = dspy.ChainOfThought("question, draft -> answer")

        def forward(self, question):
            return self.answer(question=question, draft=self.ask(question=question).draft)

    name = next(iter(options.get("fields", {"expected_response": None})))
    mlflow.log_expectation(trace_id=call(Rag(), question="why"), name=name, value="b")
    assert mlflow.dspy.examples_from_traces(predictor=Rag().ask, **options).skipped == {"unjudged": 1}
    (example,) = mlflow.dspy.examples_from_traces(predictor=Rag().answer, **options)
    assert dict(example) == {"question": "why", "draft": "d", "answer": "b"}


class Refined(dspy.Module):
    """Asks two predictors that differ in what they are told, and not in their fields."""

    def __init__(self, first="Draft.", second="Refine."):
        super().__init__()
        self.first = dspy.ChainOfThought(dspy.Signature("question -> answer", first))
        self.second = dspy.Predict(dspy.Signature("question -> answer", second))

    def forward(self, question):
        self.first(question=question)
        return self.second(question=f"{question}, again")


@pytest.mark.parametrize("told", ["Draft.", "Draft. " * 5_000], ids=["short", "long"])
def test_predictors_of_the_same_fields_are_known_by_their_instructions(call, told):
    program = Refined(told)
    trace_id = call(program, question="why")
    span_id = span_of(trace_id, "question -> answer")
    mlflow.log_expectation(trace_id=trace_id, span_id=span_id, name="answer", value="b")
    assert mlflow.dspy.examples_from_traces(predictor=program.first).skipped == {"unjudged": 1}
    (first,) = mlflow.dspy.examples_from_traces(predictor=program.first, unjudged=True)
    (second,) = mlflow.dspy.examples_from_traces(predictor=program.second)
    assert (first.question, second.question, second.answer) == ("why", "why, again", "b")
    assert len(mlflow.dspy.examples_from_traces(predictor="question -> answer", unjudged=True)) == 2
    # Neither was told so in this trace.
    assert mlflow.dspy.examples_from_traces(predictor=Refined("Other.").first).skipped == {"no program": 1}


@pytest.mark.parametrize(("name", "value"), [("truth", "b"), ("expected", {"answer": "b"}), ("expected_response", "b")])
def test_what_is_said_of_a_field_that_two_predictors_have_is_said_of_neither(call, name, value):
    program = Refined()
    mlflow.log_expectation(trace_id=call(program, question="why"), name=name, value=value)
    for predictor in (program.first, program.second):
        found = mlflow.dspy.examples_from_traces(predictor=predictor, fields={"truth": "answer"})
        assert found.skipped == {"unjudged": 1}
    assert mlflow.dspy.examples_from_traces(fields={"truth": "answer"})[0].answer == "b"


def test_a_predictor_may_have_been_told_something_else_since(call):
    program = dspy.Predict("question -> answer")
    call(program, question="why")
    program.signature = program.signature.with_instructions("Better.")
    assert len(mlflow.dspy.examples_from_traces(predictor=program, unjudged=True)) == 1


def test_a_module_with_a_predictor_inside_has_inputs_of_its_own(call):
    class Polite(dspy.Module):
        def __init__(self):
            super().__init__()
            self.predict = dspy.Predict("question -> answer")

        def forward(self, text, tone):
            return self.predict(question=text + tone)

    call(Polite(), text="why", tone="?")
    (example,) = mlflow.dspy.examples_from_traces(unjudged=True)
    assert example.inputs().toDict() == {"text": "why", "tone": "?"}


def test_a_predictor_that_is_not_there_is_counted(call):
    call(question="why")
    assert mlflow.dspy.examples_from_traces(predictor="a -> b").skipped == {"no program": 1}


@pytest.mark.parametrize("predictor", [3, "no signature", Draft()])
def test_what_is_no_predictor_is_told(predictor):
    with pytest.raises(DatasetError, match="A predictor is known by its signature"):
        mlflow.dspy.examples_from_traces(predictor=predictor)


# -- evaluations ----------------------------------------------------------------------------------

DEVSET = [dspy.Example(question="why", answer="b").with_inputs("question")]


def by_dspy():
    mlflow.dspy.autolog(log_evals=True)
    dspy.Evaluate(devset=DEVSET, metric=lambda example, prediction, trace=None: 0.0, num_threads=1)(Draft())


def by_mlflow():
    data = mlflow.dspy.examples_to_records(DEVSET)
    mlflow.genai.evaluate(data=data, predict_fn=Draft(), scorers=[mlflow.dspy.scorer(lambda *_: 0.0, name="none")])


@pytest.mark.parametrize("evaluate", [by_dspy, by_mlflow])
def test_what_the_dataset_of_an_evaluation_expects_is_learnt_only_if_asked_for(evaluate):
    evaluate()
    for options in ({}, {"unjudged": True}):
        examples = mlflow.dspy.examples_from_traces(**options)
        assert examples == [] and examples.skipped == {"evaluated": 1}
    assert told(mlflow.dspy.examples_from_traces(evaluated=True)) == [
        ({"question": "why", "answer": "b", "sure": True}, {"question"})
    ]


@pytest.mark.parametrize("evaluate", [by_dspy, by_mlflow])
def test_what_people_say_of_an_evaluation_counts(evaluate):
    evaluate()
    (trace,) = mlflow.search_traces(return_type="list")
    mlflow.log_expectation(trace_id=trace.info.trace_id, name="answer", value="c", source=ADA)
    assert [example.answer for example in mlflow.dspy.examples_from_traces()] == ["c"]


# -- values of types ------------------------------------------------------------------------------


class Typed(dspy.Signature):
    """Answer in kind."""

    day: datetime.date = dspy.InputField()
    home: Address = dspy.InputField()
    pair: tuple[int, str] = dspy.InputField()
    history: dspy.History = dspy.InputField()
    at: datetime.datetime = dspy.OutputField()
    moods: list[Mood] = dspy.OutputField()
    places: dict[str, Address] = dspy.OutputField()
    kind: Literal["a", "b"] = dspy.OutputField()


class Around(dspy.Module):
    """Hands on what it is given."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict(Typed)

    def forward(self, **fields):
        return self.ask(**fields)


GIVEN = {
    "day": datetime.date(2026, 1, 2),
    "home": Address(street="s"),
    "pair": (1, "a"),
    "history": dspy.History(messages=[{"day": "1", "kind": "b"}]),
}
FOUND = {
    "at": datetime.datetime(2026, 1, 2, 3, 4),
    "moods": [Mood.GOOD, Mood.BAD],
    "places": {"here": Address(street="x", number=2)},
    "kind": "a",
}


@pytest.fixture
def typed():
    told = {"at": "2026-01-02T03:04", "moods": '["good", "bad"]', "places": '{"here": {"street": "x", "number": 2}}'}
    dspy.configure(lm=scripted_lm({**told, "kind": "a"}))


@pytest.mark.parametrize(
    ("traced", "arguments"),
    [
        (dspy.Predict(Typed), {"predictor": Typed}),
        (dspy.Predict(Typed), {"program": dspy.Predict(Typed)}),
        (Around(), {"program": Around()}),
        (Around(), {"predictor": Around().ask}),
    ],
    ids=["signature", "predictor as program", "program", "predictor of a program"],
)
def test_values_become_what_their_fields_are_declared_as(typed, call, traced, arguments):
    call(traced, **GIVEN)
    assert told(mlflow.dspy.examples_from_traces(unjudged=True, **arguments)) == [({**GIVEN, **FOUND}, set(GIVEN))]


def test_values_stay_as_the_trace_shows_them_where_no_types_are_told(typed, call):
    call(Around(), **GIVEN)
    (example,) = mlflow.dspy.examples_from_traces(unjudged=True)
    assert (example.day, example.home) == ("2026-01-02", {"street": "s", "number": 1})


def test_a_correction_becomes_the_type_of_its_field_or_is_counted(typed, call):
    trace_id = call(dspy.Predict(Typed), **GIVEN)
    mlflow.log_expectation(trace_id=trace_id, name="moods", value=["bad"])
    (example,) = mlflow.dspy.examples_from_traces(predictor=Typed)
    assert example.moods == [Mood.BAD]
    mlflow.log_expectation(trace_id=trace_id, name="kind", value="c")
    assert mlflow.dspy.examples_from_traces(predictor=Typed).skipped == {"other type": 1}
    assert mlflow.dspy.examples_from_traces()[0].kind == "c"


def test_what_a_trace_shows_too_little_of_stays_as_it_is_shown(call):
    program = dspy.Predict("things: set[int] -> answer")
    call(program, things={1, 2})
    (example,) = mlflow.dspy.examples_from_traces(program=program, unjudged=True)
    assert example.answer == "a" and isinstance(example.things, str)


def test_what_is_no_program_is_told():
    with pytest.raises(DatasetError, match="the dspy.Module that was traced, and not a str"):
        mlflow.dspy.examples_from_traces(program="question -> answer")


# -- traces of every kind -------------------------------------------------------------------------


def test_traces_of_others_and_code_around_programs_may_be_mixed_in(call):
    @mlflow.trace
    def other(question):
        return {"answer": question}

    @mlflow.trace
    def around(text):
        return Draft()(question=text).answer

    other("x")
    around("why")
    for trace in mlflow.search_traces(return_type="list"):
        mlflow.log_expectation(trace_id=trace.info.trace_id, name="answer", value="b")
    examples = mlflow.dspy.examples_from_traces()
    assert told(examples) == [({"question": "why", "answer": "b", "sure": True}, {"question"})]
    assert examples.skipped == {"no program": 1}


def test_what_is_said_of_the_first_span_is_said_of_the_trace(call):
    @mlflow.trace
    def around(text):
        return Draft()(question=text).answer

    around("why")
    (trace,) = mlflow.search_traces(return_type="list")
    (first,) = [span for span in trace.data.spans if span.parent_id is None]
    mlflow.log_expectation(trace_id=trace.info.trace_id, span_id=first.span_id, name="answer", value="b", source=ADA)
    for predictor in (None, "question, draft -> answer, sure"):
        assert [each.answer for each in mlflow.dspy.examples_from_traces(predictor=predictor)] == ["b"]


def test_what_is_said_of_a_trace_with_two_programs_is_said_of_none(call):
    with mlflow.start_span("both") as span:
        Draft()(question="1")
        Draft()(question="2")
    mlflow.log_expectation(trace_id=span.trace_id, name="answer", value="b")
    assert mlflow.dspy.examples_from_traces().skipped == {"unjudged": 2}
    assert len(mlflow.dspy.examples_from_traces(unjudged=True)) == 2


def test_traces_are_taken_in_every_form(call):
    ids = [call(question=each) for each in "ab"]
    traces = mlflow.search_traces(return_type="list")
    for given in (None, ids, traces, iter(traces), mlflow.search_traces(return_type="pandas"), "status = 'OK'"):
        assert len(mlflow.dspy.examples_from_traces(given, unjudged=True)) == 2
    assert len(mlflow.dspy.examples_from_traces("status = 'ERROR'", unjudged=True)) == 0
    (newest,) = mlflow.dspy.examples_from_traces(max_results=1, unjudged=True)
    assert newest.question == "b"
    assert len(mlflow.dspy.examples_from_traces(experiment_ids=["0"], unjudged=True)) == 0


def test_a_text_may_be_the_id_of_one_trace(call):
    trace_id, _ = (call(question=each) for each in "ab")
    assert mlflow.dspy.examples_from_traces(trace_id, unjudged=True).trace_ids == [trace_id]


@pytest.mark.parametrize("given", ["1", ["1"]])
def test_a_field_may_be_called_args(call, given):
    call(dspy.Predict("args: Any, question -> answer"), args=given, question="why")
    (example,) = mlflow.dspy.examples_from_traces(unjudged=True)
    assert example.inputs().toDict() == {"args": given, "question": "why"}


def test_arguments_without_names_are_counted(call):
    Draft()("why")
    assert mlflow.dspy.examples_from_traces(unjudged=True).skipped == {"no names": 1}


def test_more_traces_than_a_page_are_all_found(call, monkeypatch):
    for number in range(5):
        call(dspy.Predict("question -> answer"), question=str(number))
    monkeypatch.setattr("mlflow_dspy_plugin.genai.examples._PAGE", 2)
    assert len(mlflow.dspy.examples_from_traces(unjudged=True)) == 5
    assert len(mlflow.dspy.examples_from_traces(unjudged=True, max_results=3)) == 3


@pytest.mark.parametrize("given", [3, [3]])
def test_what_are_no_traces_is_told(given):
    with pytest.raises(DatasetError, match="takes a filter string, or a list of traces or of their ids, and not a int"):
        mlflow.dspy.examples_from_traces(given)


def test_outputs_without_names_are_counted():
    class Text(dspy.Module):
        def forward(self, question):
            return "text"

    Text()(question="why")
    assert mlflow.dspy.examples_from_traces(unjudged=True).skipped == {"no names": 1}


def test_what_was_redacted_is_no_example(call):
    call(question=f"my key is {KEY}")
    assert mlflow.dspy.examples_from_traces(unjudged=True).skipped == {"redacted": 1}


def test_what_was_not_captured_is_no_example(call):
    mlflow.dspy.autolog(capture_content=False)
    call(question="why")
    assert mlflow.dspy.examples_from_traces(unjudged=True).skipped == {"not captured": 1}


@pytest.mark.parametrize("url", ["/etc/hostname", 3])
def test_what_a_caller_shows_as_an_image_is_none_unless_it_is_remote(call, url):
    question = {"type": "image_url", "image_url": {"url": url}}
    call(dspy.Predict("question: dict -> answer"), question=question)
    (example,) = mlflow.dspy.examples_from_traces(unjudged=True)
    assert example.question == question


def test_long_texts_and_images_come_back_whole(call):
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(2_000)).decode()
    image, text = dspy.Image(url=f"data:image/png;base64,{png}"), "long text " * 5_000
    call(dspy.Predict("question, image: dspy.Image -> answer"), question=text, image=image)
    (example,) = mlflow.dspy.examples_from_traces(unjudged=True)
    assert (example.question, example.image) == (text, image)


def test_long_texts_of_an_inner_predictor_come_back_whole_or_are_counted(call):
    call(question="long text " * 5_000)
    examples = mlflow.dspy.examples_from_traces(predictor="question -> draft", unjudged=True)
    found = [example.question for example in examples]
    assert found == (["long text " * 5_000] if HAS_ATTACHMENTS else [])
    assert examples.skipped == ({} if HAS_ATTACHMENTS else {"shortened": 1})


def test_the_examples_are_a_trainset(call):
    mlflow.log_expectation(trace_id=call(question="why"), name="answer", value="b")
    trainset = mlflow.dspy.examples_from_traces()
    compiled = dspy.LabeledFewShot(k=1).compile(Draft(), trainset=trainset)
    assert compiled.check.demos == [trainset[0]]
    assert len(mlflow.data.from_dspy(trainset)) == 1

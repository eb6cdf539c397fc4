"""Which part of a chat each field of a program has."""

import dspy
import pytest

from mlflow_dspy_plugin.errors import ProgramError
from mlflow_dspy_plugin.programs.chat_fields import answer_among, chat_fields_of
from mlflow_dspy_plugin.programs.fields import fields_of


def parts(program):
    return chat_fields_of(program, fields_of(program))


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("ask -> answer", "ask"),
        ("context, question -> answer", "question"),
        ("query, context -> answer", "query"),
        ("passage, claim -> verdict", "claim"),
        ("pages: int, letter -> kind", "letter"),
        ("messages -> answer", "messages"),
    ],
)
def test_the_question_is_the_only_text_or_called_so_or_the_last(signature, text):
    found = parts(dspy.Predict(signature))
    assert (found.text, found.takes_list, found.messages) == (text, False, None)


@pytest.mark.parametrize("make", [dspy.Predict, dspy.ChainOfThought, lambda signature: dspy.ReAct(signature, tools=[])])
def test_dspy_s_own_modules_take_texts_and_their_answer_is_no_thought(make):
    found = parts(make("question -> reply"))
    assert (found.text, found.answer, found.takes_list) == ("question", "reply", False)


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ({"reasoning": str, "verdict": str}, "verdict"),
        ({"rationale": str, "count": int}, "count"),
        ({"notes": str, "response": str, "title": str}, "response"),
        ({"notes": str, "title": str, "count": int}, "title"),
        ({"first": int, "second": float}, "second"),
        ({"calls": dspy.ToolCalls, "said": str}, "said"),
        ({"calls": dspy.ToolCalls}, None),
        ({"reasoning": str}, "reasoning"),
        ({}, None),
    ],
    ids=str,
)
def test_the_answer_is_the_only_output_beside_thoughts_or_called_so_or_the_last_text(outputs, answer):
    assert answer_among(outputs) == answer


def test_dspy_s_types_are_found_wherever_they_stand():
    class All(dspy.Signature):
        pictures: list[dspy.Image] = dspy.InputField()
        past: dspy.History = dspy.InputField()
        offered: list[dspy.Tool] | None = dspy.InputField()
        ask: str = dspy.InputField()
        reply: str = dspy.OutputField()

    found = parts(dspy.Predict(All))
    assert (found.image, found.takes_images, found.history, found.tools) == ("pictures", True, "past", "offered")
    assert found.turn == ("ask", "reply")


def test_the_turns_of_a_history_have_the_names_of_the_predictor_that_takes_it():
    class Inner(dspy.Module):
        def __init__(self):
            super().__init__()
            self.classify = dspy.Predict("text -> label")
            self.reply = dspy.Predict("past: dspy.History, ask -> told")

        def forward(self, question: str, history: dspy.History):
            return self.reply(ask=question, past=history)

    found = parts(Inner())
    assert (found.text, found.history, found.turn) == ("question", "history", ("ask", "told"))


def test_a_forward_that_takes_several_things_but_no_text_is_no_chat():
    class Numbers(dspy.Module):
        def forward(self, first: int, second: int):
            return first + second

    with pytest.raises(ProgramError, match=r"takes \['first', 'second'\]. Give it an input of type str"):
        parts(Numbers())

"""The task llm/v1/chat: a chat request in, a chat completion out."""

import json

import dspy
import mlflow
import pandas as pd
import pytest

from mlflow_dspy_plugin.errors import InputError, ProgramError
from tests.fakes.scripted import scripted_lm
from tests.packaging.no_store import store  # noqa: F401

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What bear?"}]


class Chat(dspy.Module):
    """Takes a list of messages and answers in the form it is told to."""

    def __init__(self, form="prediction"):
        super().__init__()
        self.form = form
        self.predict = dspy.Predict("messages -> answer")

    def forward(self, messages):
        answer = self.predict(messages=json.dumps(messages)).answer
        return {
            "prediction": dspy.Prediction(answer=answer),
            "text": answer,
            "dict": {"role": "assistant", "answer": answer},
            "list": [answer, {"answer": answer}],
            "unserializable": {"answer": {1, 2}.__class__},
        }[self.form]


def served(program, **options):
    dspy.configure(lm=scripted_lm({"answer": "the black bear"}))
    mlflow.dspy.save_model(program, "model", task="llm/v1/chat", **options)
    dspy.configure(lm=None)
    return mlflow.pyfunc.load_model("model")


@pytest.mark.parametrize(
    ("form", "contents"),
    [
        ("prediction", ['{"answer": "the black bear"}']),
        ("text", ["the black bear"]),
        ("dict", ['{"role": "assistant", "answer": "the black bear"}']),
        ("list", ["the black bear", '{"answer": "the black bear"}']),
        ("unserializable", ['{"answer": "<class \'set\'>"}']),
    ],
)
def test_an_answer_is_a_whole_completion_whatever_form_the_program_gives_it(form, contents):
    answer = served(Chat(form)).predict({"messages": MESSAGES})
    assert answer.pop("id").startswith("chatcmpl-")
    assert answer.pop("created") > 1_700_000_000
    assert answer == {
        "object": "chat.completion",
        "model": "scripted/model",
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
            for index, content in enumerate(contents)
        ],
    }
    json.dumps(answer)


@pytest.mark.parametrize("form", ["dict", "table", "dict with parameters"])
def test_a_request_comes_in_every_form_that_mlflow_makes_of_it(form):
    model = served(Chat(), input_example={"messages": MESSAGES})
    request = {
        "dict": {"messages": MESSAGES},
        "table": pd.DataFrame([{"messages": MESSAGES}]),
        "dict with parameters": {"messages": MESSAGES, "temperature": 0.5, "max_tokens": 5},
    }[form]
    model.predict(request)
    prompt = model._model_impl._settings["lm"].script.requests[-1][-1]["content"]
    assert all(message["content"] in prompt for message in MESSAGES)


@pytest.mark.parametrize(
    "request_",
    [
        "What?",
        {"question": "x"},
        {"messages": "What?"},
        {"messages": []},
        pd.DataFrame({"messages": [[], []]}),
        None,
    ],
    ids=str,
)
def test_what_is_no_chat_request_is_refused_with_the_form_of_one(request_):
    model = served(Chat())
    with pytest.raises(InputError, match="The input of a chat model is .*'messages'.* but it was given .*Give one"):
        model._model_impl.predict(request_)


def test_a_chat_model_says_that_it_does_not_stream():
    model = served(Chat())
    with pytest.raises(mlflow.MlflowException, match="(?i)stream"):
        list(model.predict_stream({"messages": MESSAGES}))
    with pytest.raises(ProgramError, match="'llm/v1/chat' cannot be streamed. Call predict, or log"):
        model._model_impl.predict_stream({"messages": MESSAGES})


def test_the_task_is_written_where_mlflow_looks_for_it():
    served(Chat())
    model = mlflow.models.Model.load("model")
    assert (model.metadata["task"], model.flavors["dspy"]["inference_task"]) == ("llm/v1/chat", "llm/v1/chat")
    assert "messages" in model.signature.inputs.input_names()

"""What a chat request asks for beside its messages: OpenAI's parameters, checked, for that request alone."""

import itertools
import json

import dspy
import mlflow
import pytest
from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations

from mlflow_dspy_plugin.errors import InputError
from tests.conftest import store  # noqa: F401
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text
from tests.serving import chatty

ASK = [{"role": "user", "content": "What bear?"}]
# As providers know them; dspy 3.4 gives OpenAI the newer name of the last.
OPTIONS = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "n", "max_tokens")


@pytest.fixture
def server():
    def answer(messages, body):
        return chat_text({"answer": body["model"], "draft": "d"})

    with OpenAIServer({"bears": answer, "wolves": answer}) as running:
        yield running


@pytest.fixture
def served(server):
    """Saves a program with an LM behind the server, and loads it as a chat model."""

    def save(program=None, **options):
        lm = {"api_base": server.base_url, "num_retries": 0, "cache": False, "temperature": 0.5, "max_tokens": 50}
        dspy.configure(lm=dspy.LM("openai/bears", **lm))
        mlflow.dspy.save_model(program or dspy.Predict("question -> answer"), "model", task="llm/v1/chat", **options)
        dspy.configure(lm=None)
        return mlflow.pyfunc.load_model("model")

    return save


def sent(server) -> dict:
    """The options of the last request that the language model got."""
    body = {{"max_completion_tokens": "max_tokens"}.get(name, name): v for name, v in server.requests[-1].body.items()}
    return {name: body[name] for name in OPTIONS if name in body}


def over_http(model, body: dict):
    """What MLflow's server answers to a body."""
    return invocations(json.dumps(body), CONTENT_TYPE_JSON, model, model.metadata.get_input_schema())


PLAIN = {"temperature": 0.5, "max_tokens": 50}


@pytest.mark.parametrize("way", ["over HTTP", "in the dict", "as params"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, PLAIN),
        ({"temperature": 0}, {**PLAIN, "temperature": 0}),
        ({"max_tokens": 7, "top_p": 0.2}, {**PLAIN, "max_tokens": 7, "top_p": 0.2}),
        ({"max_completion_tokens": 9}, {**PLAIN, "max_tokens": 9}),
        ({"seed": 3, "presence_penalty": 0.5}, {**PLAIN, "seed": 3, "presence_penalty": 0.5}),
        ({"frequency_penalty": -1, "n": 1}, {**PLAIN, "frequency_penalty": -1}),
        ({"temperature": None, "max_tokens": None, "seed": None}, PLAIN),
        ({"unknown": 3, "logit_bias": {"a": 1}, "metadata": {"a": "b"}, "stream": False, "user": "ada"}, PLAIN),
    ],
    ids=str,
)
def test_what_a_language_model_takes_holds_for_that_request_alone(served, server, way, asked, expected):
    model = served()
    if way == "over HTTP":
        response = over_http(model, {"messages": ASK, **asked})
        assert response.status == 200
        answer = json.loads(response.response)
    else:
        answer = model.predict({"messages": ASK, **(asked if way == "in the dict" else {})}, params=asked)
    assert answer["choices"][0]["message"]["content"] == "bears"
    assert sent(server) == expected
    model.predict({"messages": ASK})
    assert sent(server) == PLAIN


@pytest.mark.parametrize("stop", ["END", ["END", "\n\n"]])
def test_where_to_stop_is_told_in_both_of_its_forms(served, server, stop):
    assert over_http(served(), {"messages": ASK, "stop": stop}).status == 200
    assert sent(server)["stop"] in (stop, [stop])


ILL_TYPED = [
    ({"temperature": "hot"}, "'temperature' is 'hot'. Give a number, or leave it out"),
    ({"temperature": float("inf")}, "'temperature' is inf. Give a number"),
    ({"top_p": float("-inf")}, "'top_p' is -inf. Give a number"),
    ({"presence_penalty": float("nan")}, "'presence_penalty' is nan. Give a number"),
    ({"temperature": True}, "'temperature' is True. Give a number"),
    ({"top_p": [1]}, "'top_p' is \\[1\\]. Give a number"),
    ({"max_tokens": 0}, "'max_tokens' is 0. Give a whole number from 1 on"),
    ({"max_tokens": 2.5}, "'max_tokens' is 2.5. Give a whole number"),
    ({"max_completion_tokens": "many"}, "'max_completion_tokens' is 'many'"),
    ({"n": 0}, "'n' is 0. Give a whole number from 1 on"),
    ({"seed": "x"}, "'seed' is 'x'. Give a whole number"),
    ({"stop": 3}, "'stop' is 3. Give a text or a list of texts"),
    ({"stop": ["a", 3]}, "'stop' is .*. Give a text or a list of texts"),
    ({"tools": "look"}, "'tools' is 'look'. Give a list"),
    ({"tool_choice": 3}, "'tool_choice' is 3. Give a text or an object"),
    ({"custom_inputs": [1]}, "'custom_inputs' is \\[1\\]. Give an object"),
    ({"user": 3}, "'user' is 3. Give a text"),
    ({"model": 3}, "'model' is 3. Give a text"),
    ({"cache": "no"}, "'cache' is 'no'. Give true or false"),
]


@pytest.mark.parametrize(("asked", "words"), ILL_TYPED, ids=[str(asked) for asked, _ in ILL_TYPED])
def test_what_is_ill_typed_is_refused_by_its_name_and_asks_nobody(served, server, asked, words):
    model = served()
    with pytest.raises(InputError, match=words):
        model._model_impl.predict({"messages": ASK, **asked})
    # MLflow looks at some of them first.
    with pytest.raises(mlflow.MlflowException) as raised:
        over_http(model, {"messages": ASK, **asked})
    assert raised.value.get_http_status_code() == 400
    assert not server.requests


# -- which model ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai/bears", "bears", None])
def test_a_request_may_name_the_language_model_that_answers_anyway(served, name):
    assert answered_by(served(), name) == ("bears", "openai/bears")


def answered_by(model, name) -> tuple[str, str]:
    completion = json.loads(over_http(model, {"messages": ASK, "model": name}).response)
    return completion["choices"][0]["message"]["content"], completion["model"]


def test_a_request_may_name_a_language_model_that_the_model_allows(served, server):
    model = served(allowed_models=["openai/wolves"])
    assert answered_by(model, "openai/wolves") == ("wolves", "openai/wolves")
    assert answered_by(model, "bears") == ("bears", "openai/bears")


def test_a_request_may_name_the_mlflow_model(served, server):
    dspy.configure(lm=dspy.LM("openai/bears", api_base=server.base_url, num_retries=0, cache=False))
    program = dspy.Predict("question -> answer")
    info = mlflow.dspy.log_model(program, name="qa", task="llm/v1/chat", registered_model_name="registered")
    dspy.configure(lm=None)
    model = mlflow.pyfunc.load_model("models:/registered/1")
    for name in ("registered", info.model_id):
        assert answered_by(model, name) == ("bears", "openai/bears")


@pytest.mark.parametrize("name", ["gpt-9", "openai/wolves", ""])
def test_any_other_name_is_refused_with_those_that_there_are(served, server, name):
    model = served()
    with pytest.raises(
        InputError, match=f"'model' is {name!r}, which this model does not allow. .* openai/bears, bears"
    ):
        model.predict({"messages": ASK, "model": name})
    assert not server.requests


# -- several answers --------------------------------------------------------------------------


def test_as_many_answers_are_given_as_are_asked_for(served, server):
    server.models["bears"] = lambda messages, body: chat_text({"answer": f"bear {next(numbers)}"})
    numbers = itertools.count()
    choices = served().predict({"messages": ASK, "n": 3})["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in choices} == {"bear 0", "bear 1", "bear 2"}


def test_several_answers_of_a_program_of_several_steps_are_refused(served, server):
    model = served(chatty.TwoSteps())
    with pytest.raises(InputError, match="'n' is 3, but only a program of one predictor gives several answers"):
        model.predict({"messages": ASK, "n": 3})
    assert not server.requests
    assert len(model.predict({"messages": ASK, "n": 1})["choices"]) == 1


# -- traces -----------------------------------------------------------------------------------


def test_the_trace_is_told_when_asked_for_and_knows_the_user(served, traces):
    model = served()
    assert "trace_id" not in model.predict({"messages": ASK})
    mlflow.dspy.autolog()
    completion = json.loads(over_http(model, {"messages": ASK, "return_trace_id": True, "user": "ada"}).response)
    [trace] = traces()
    assert completion["trace_id"] == trace.info.trace_id
    assert trace.info.trace_metadata["mlflow.trace.user"] == "ada"

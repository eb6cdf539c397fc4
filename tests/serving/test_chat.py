"""The task llm/v1/chat: OpenAI's messages become the program's inputs, and its answer a chat completion."""

import json

import dspy
import mlflow
import pandas as pd
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from mlflow_dspy_plugin.errors import InputError, ProgramError
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401
from tests.serving import chatty

SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "What bear?"}
ANSWER = {"role": "assistant", "content": "The black one."}
WHY = {"role": "user", "content": "Why?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "zoo"}'}}],
}
FOUND = {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "a bear"}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def served(program, **options):
    mlflow.dspy.save_model(program, "model", task="llm/v1/chat", **options)
    return mlflow.pyfunc.load_model("model")


def said(model, messages, **body):
    """What one request is answered."""
    return model.predict({"messages": messages, **body})["choices"][0]["message"]["content"]


def given(program, messages, **body):
    """What the program was given for one request."""
    return json.loads(said(served(program), messages, **body))


# -- what the program is given ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (chatty.Messages, [SYSTEM, ASK]),
        (chatty.Listed, [SYSTEM, ASK]),
        (chatty.Starred, [SYSTEM, ASK]),
        (chatty.Awaited, [SYSTEM, ASK]),
        (chatty.Both, [[SYSTEM, ASK], []]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_program_written_for_mlflow_s_own_flavor_gets_the_list_of_messages(program, expected):
    assert given(program(), [SYSTEM, ASK]) == expected


@pytest.mark.parametrize(
    ("messages", "question"),
    [
        ([ASK], "What bear?"),
        ([SYSTEM, ASK], "Be brief.\n\nWhat bear?"),
        ([{**SYSTEM, "role": "developer"}, ASK], "Be brief.\n\nWhat bear?"),
        ([ASK, WHY], "What bear?\n\nWhy?"),
        (
            [SYSTEM, ASK, ANSWER, WHY],
            "Be brief.\n\nUser: What bear?\n\nAssistant: The black one.\n\nUser: Why?",
        ),
        (
            [ASK, CALL, FOUND],
            'User: What bear?\n\nAssistant: calls look({"at": "zoo"})\n\nTool: look returned a bear',
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": "What"}, {"type": "text", "text": "bear?"}]}],
            "What\nbear?",
        ),
    ],
    ids=lambda value: "-".join(each["role"] for each in value) if isinstance(value, list) else "",
)
def test_a_text_input_gets_the_whole_conversation(messages, question):
    assert given(chatty.Text(), messages) == {"question": question}


@pytest.mark.parametrize("program", [chatty.Anything, chatty.Untyped])
def test_an_input_that_says_nothing_of_its_type_gets_the_text(program):
    assert given(program(), [ASK]) == ["What bear?", 1]


@pytest.mark.parametrize(
    ("messages", "question", "history"),
    [
        ([ASK], "What bear?", []),
        ([SYSTEM, ASK, ANSWER, WHY], "Be brief.\n\nWhy?", [("What bear?", "The black one.")]),
        ([ANSWER, ASK], "What bear?", [("", "The black one.")]),
        ([ASK, ANSWER], "What bear?\n\nAssistant: The black one.", []),
        (
            [ASK, CALL, FOUND, ANSWER, WHY],
            "Why?",
            [("What bear?", 'calls look({"at": "zoo"})\n\nTool: look returned a bear\n\nThe black one.')],
        ),
        ([ASK, CALL, FOUND], 'What bear?\n\nAssistant: calls look({"at": "zoo"})\n\nTool: look returned a bear', []),
    ],
    ids=lambda value: "-".join(each["role"] for each in value) if value and isinstance(value[0], dict) else "",
)
def test_a_history_gets_the_earlier_turns_and_loses_none(messages, question, history):
    turns = [{"question": asked, "answer": answer} for asked, answer in history]
    assert given(chatty.Remembering(), messages) == {"question": question, "history": turns}


def test_the_language_model_sees_earlier_turns_as_turns():
    with OpenAIServer({"bears": lambda messages, body: chat_text({"reasoning": "r", "reply": "Since."})}) as server:
        configure(server)
        model = served(dspy.ChainOfThought("history: dspy.History, ask -> reply"))
        assert said(model, [ASK, ANSWER, WHY]) == "Since."
        sent = server.requests[-1].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert "What bear?" in sent[1]["content"] and "What bear?" not in sent[3]["content"]
    assert "[[ ## reply ## ]]\nThe black one." in sent[2]["content"]


def configure(server):
    dspy.configure(
        lm=dspy.LM("openai/bears", api_base=server.base_url, cache=False, num_retries=0), adapter=dspy.ChatAdapter()
    )


TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
    },
}
WAIT = {"type": "function", "function": {"name": "wait"}}


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({}, ["look", "wait"]),
        ({"tool_choice": "auto"}, ["look", "wait"]),
        ({"tool_choice": "none"}, []),
        ({"tool_choice": {"type": "function", "function": {"name": "wait"}}}, ["wait"]),
    ],
    ids=str,
)
def test_tools_images_and_other_inputs_reach_the_inputs_that_are_made_for_them(choice, names):
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/bear.png", "detail": "low"}},
    ]
    body = {"tools": [TOOL, WAIT], "custom_inputs": {"context": "a zoo", "k": 5}, **choice}
    answer = given(chatty.Assistant(), [{"role": "user", "content": parts}], **body)
    assert answer["question"] == "What is it?"
    assert answer["pictures"] == [PIXEL, "https://example.com/bear.png"]
    assert (answer["context"], answer["k"]) == ("a zoo", 5)
    assert [tool["name"] for tool in answer["tools"]] == names
    if "look" in names:
        assert answer["tools"][0]["properties"] == {"at": {"type": "string"}}


def test_one_image_reaches_an_input_of_one():
    earlier = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}
    assert given(chatty.Seeing(), [ASK])["picture"] is None
    assert given_again([earlier, ANSWER, ASK])["picture"] == PIXEL


def given_again(messages):
    return json.loads(said(mlflow.pyfunc.load_model("model"), messages))


# -- what the program answers -----------------------------------------------------------------

CALLED = {"name": "look", "arguments": '{"at": 1}'}


@pytest.mark.parametrize(
    ("form", "contents"),
    [
        ("prediction", ["the black bear"]),
        ("last text", ["the black bear"]),
        ("only one", ['["black", "brown"]']),
        ("number", ["3"]),
        ("text", ["the black bear"]),
        ("dict", ["the black bear"]),
        ("message", ["the black bear"]),
        ("list", ["the black bear", "a brown one"]),
        ("no JSON", ["\"<class 'set'>\""]),
        ("no calls", ["the black bear"]),
    ],
)
def test_an_answer_is_a_whole_completion_whatever_form_the_program_gives_it(form, contents):
    answer = served(chatty.Form(form)).predict({"messages": [ASK]})
    read = ChatCompletion.model_validate(answer, strict=True)
    assert read.id.startswith("chatcmpl-") and read.created > 1_700_000_000
    assert (read.object, read.model) == ("chat.completion", "Form")
    assert [choice.index for choice in read.choices] == list(range(len(contents)))
    assert [choice.message.content for choice in read.choices] == contents
    assert {(choice.message.role, choice.finish_reason) for choice in read.choices} == {("assistant", "stop")}
    json.dumps(answer)


@pytest.mark.parametrize(
    ("form", "called"), [("calls", CALLED), ("message that calls", {"name": "look", "arguments": "{}"})]
)
def test_calls_of_tools_are_told_in_openai_s_form(form, called):
    answer = served(chatty.Form(form)).predict({"messages": [ASK]})
    [choice] = ChatCompletion.model_validate(answer, strict=True).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    [call] = choice.message.tool_calls
    assert call.id and call.type == "function"
    assert call.function.model_dump() == called


def test_a_program_that_calls_tools_calls_those_of_the_request():
    calls = {"tool_calls": [{"name": "look", "args": {"at": "zoo"}}]}
    with OpenAIServer({"bears": lambda messages, body: chat_text({"answer": "", "calls": calls})}) as server:
        configure(server)
        model = served(dspy.Predict(chatty.Caller))
        answer = model.predict({"messages": [ASK], "tools": [TOOL]})
        prompt = server.requests[-1].body["messages"][-1]["content"]
        # What the client then sends is taken again.
        model.predict({"messages": [ASK, answer["choices"][0]["message"], FOUND], "tools": [TOOL]})
        again = server.requests[-1].body["messages"][-1]["content"]
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": '{"at": "zoo"}'}
    assert "look" in prompt and "Looks." in prompt
    assert 'calls look({"at": "zoo"})' in again and "look returned a bear" in again


# -- what is refused --------------------------------------------------------------------------

BAD_MESSAGES = [
    ([ASK, {"role": "robot", "content": "x"}], "Message 1 has the role 'robot'. Give one of system, developer, user"),
    ([{"role": ["user"], "content": "x"}], "Message 0 has the role \\['user'\\]"),
    (["What?"], "Message 0 is str. Give"),
    ([ASK, {"role": "user"}], "Message 1 .* has no text. Give it a 'content', or leave it out"),
    ([{"role": "user", "content": ""}], "Message 0 .* has no text"),
    ([{"role": "user", "content": None}], "Message 0 .* has no text"),
    ([{"role": "user", "content": []}], "Message 0 .* has no text"),
    ([{"role": "assistant", "content": None, "tool_calls": []}], "Message 0 .* has no text"),
    ([{"role": "user", "content": 3}], "Message 0 has a content of int. Give a text, or a list of parts"),
    ([{"role": "user", "content": ["x"]}], "Message 0 has a part 'x', which is none that this model takes"),
    (
        [{"role": "user", "content": [{"type": "input_audio"}]}],
        "Message 0 has a part .*input_audio.* Give {'type': 'text'",
    ),
    ([{"role": "user", "content": [{"type": ["text"]}]}], "Message 0 has a part"),
    ([{"role": "assistant", "content": "x", "tool_calls": 3}], "Message 0 has the tool calls 3. Give a list"),
    ([{"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]}], "Message 0 has the tool calls"),
    ([SYSTEM], "no message of the role 'user'"),
    (
        [ASK, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}],
        "Message 1 has an image, but the program has no input of type dspy.Image",
    ),
]


@pytest.mark.parametrize(
    ("messages", "words"), BAD_MESSAGES, ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_a_message_that_cannot_be_understood_is_refused_by_its_place(messages, words):
    model = served(chatty.Text())
    with pytest.raises(InputError, match=words) as raised:
        model._model_impl.predict({"messages": messages})
    assert raised.value.get_http_status_code() == 400
    with pytest.raises(mlflow.MlflowException):
        model.predict({"messages": messages})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"tools": [TOOL]}, "offers tools, but the program has no input of type list"),
        (
            {"custom_inputs": {"colour": "red"}},
            "'custom_inputs' has \\['colour'\\], but the program's other inputs are",
        ),
        ({"custom_inputs": {"question": "x"}}, "'custom_inputs' has \\['question'\\]"),
    ],
    ids=str,
)
def test_what_the_program_has_no_input_for_is_refused(body, words):
    with pytest.raises(InputError, match=words):
        served(chatty.Text()).predict({"messages": [ASK], **body})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {},
            "The program needs \\['context', 'pictures'\\], which a message does not give. Send them in 'custom_inputs'",
        ),
        ({"tools": ["look"]}, "Tool 0 of 'tools' is 'look'. Give a function in the form"),
        ({"tools": [TOOL, {"type": "function", "function": {}}]}, "Tool 1 of 'tools'"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "none of the tools"),
    ],
    ids=str,
)
def test_what_the_program_needs_is_asked_for(body, words):
    with pytest.raises(InputError, match=words):
        served(chatty.Assistant()).predict({"messages": [ASK], **body})


@pytest.mark.parametrize("address", ["{path}", "file://{path}", "", None, 3])
def test_an_image_is_never_a_file_of_the_server(address, tmp_path):
    path = tmp_path / "canary.png"
    path.write_bytes(b"canary")
    url = address.format(path=path) if isinstance(address, str) else address
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(InputError, match="Message 0 has an image at .*begins with one of https://"):
        served(chatty.Seeing()).predict({"messages": [{"role": "user", "content": [part]}]})


def test_a_second_image_is_refused_where_there_is_room_for_one():
    part = {"type": "image_url", "image_url": {"url": PIXEL}}
    with pytest.raises(InputError, match="Message 1 has a second image, but the program's input 'picture' takes one"):
        served(chatty.Seeing()).predict({"messages": [ASK, {"role": "user", "content": [part, part]}]})


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
    model = served(chatty.Messages())
    with pytest.raises(InputError, match="The input of a chat model is .*'messages'.* but it was given .*Give one"):
        model._model_impl.predict(request_)


@pytest.mark.parametrize(
    "signature", ["pages: int -> answer", "picture: dspy.Image -> answer", "history: dspy.History -> a"]
)
def test_a_program_that_takes_no_text_is_refused_when_it_is_saved(signature):
    with pytest.raises(ProgramError, match="A chat needs a program that takes messages or a text, but this one takes"):
        served(dspy.Predict(signature))


# -- what MLflow sees -------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["dict", "table", "dict with parameters"])
def test_a_request_comes_in_every_form_that_mlflow_makes_of_it(form):
    model = served(chatty.Messages(), input_example={"messages": [SYSTEM, ASK]})
    request = {
        "dict": {"messages": [SYSTEM, ASK]},
        "table": pd.DataFrame([{"messages": [SYSTEM, ASK]}]),
        "dict with parameters": {"messages": [SYSTEM, ASK], "temperature": 0.5, "max_tokens": 5},
    }[form]
    assert json.loads(model.predict(request)["choices"][0]["message"]["content"]) == [SYSTEM, ASK]


def test_messages_as_libraries_write_them_are_taken():
    answer = served(chatty.Form("text")).predict({"messages": [ASK]})
    message = ChatCompletion.model_validate(answer).choices[0].message.model_dump()
    assert message.keys() > {"refusal", "annotations", "audio", "function_call"}
    litellm = {**ANSWER, "provider_specific_fields": None, "reasoning_content": "hm", "tool_calls": None}
    for each in (message, litellm):
        mlflow.pyfunc.load_model("model").predict({"messages": [ASK, each, WHY]})


# -- streams ----------------------------------------------------------------------------------


def streamed(program, messages, text, **body):
    """The chunks of a streamed answer, by a language model that says this; each as OpenAI's own client reads it."""
    with OpenAIServer({"bears": lambda messages, body: text}) as server:
        dspy.configure(lm=dspy.LM("openai/bears", api_base=server.base_url, cache=False, num_retries=0))
        chunks = list(served(program).predict_stream({"messages": messages, **body}))
    return [ChatCompletionChunk.model_validate(chunk) for chunk in chunks]


def test_a_streamed_answer_is_sent_as_openai_sends_it():
    chunks = streamed(
        dspy.ChainOfThought("question -> answer"), [ASK], chat_text({"reasoning": "I know.", "answer": "black " * 30})
    )
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {"openai/bears"}
    first, *pieces, last = (chunk.choices[0] for chunk in chunks)
    assert (first.delta.role, first.finish_reason) == ("assistant", None)
    assert len(pieces) > 3
    # The text of the answer, and not the reasoning.
    assert "".join(piece.delta.content for piece in pieces).strip() == ("black " * 30).strip()
    assert (last.delta.content, last.finish_reason) == (None, "stop")
    usage = chunks[-1].usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 30


def test_an_answer_that_cannot_be_streamed_comes_in_one_piece():
    chunks = streamed(dspy.Predict("question -> answer: dict[str, int]"), [ASK], chat_text({"answer": {"bears": 3}}))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", '{"bears": 3}', None]


class Thinks(dspy.Module):
    """Has two predictors of the same field, and answers by the last."""

    def __init__(self):
        super().__init__()
        self.draft, self.last = dspy.Predict("question -> answer"), dspy.Predict("question, draft -> answer")

    def forward(self, question: str):
        return self.last(question=question, draft=self.draft(question=question).answer)


def test_only_the_predictor_that_answers_is_streamed():
    chunks = streamed(Thinks(), [ASK], chat_text({"answer": "black " * 30}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.strip() == ("black " * 30).strip()


def test_whoever_streams_keeps_their_own_settings_and_counts():
    with OpenAIServer({"bears": lambda messages, body: chat_text({"answer": "black " * 30})}) as server:
        server.chunk_latency = 0.01
        lm = dspy.LM("openai/bears", api_base=server.base_url, cache=False, num_retries=0)
        dspy.configure(lm=lm)
        model = served(dspy.Predict("question -> answer"))
        dspy.configure(lm=None)
        alone = list(model.predict_stream({"messages": [ASK]}))[-1]["usage"]
        stream = model.predict_stream({"messages": [ASK]})
        next(stream)
        assert dspy.settings.lm is None
        # Of another request, in the middle of the stream.
        lm("What else?")
        assert list(stream)[-1]["usage"] == alone


def test_a_chat_that_is_no_chat_is_refused_before_it_is_streamed():
    with pytest.raises(InputError):
        served(chatty.Messages())._model_impl.predict_stream({"messages": []})


def test_the_task_and_its_schema_stand_where_mlflow_looks_for_them():
    served(chatty.Messages())
    info = mlflow.models.get_model_info("model")
    assert (info.metadata["task"], info.flavors["dspy"]["inference_task"]) == ("llm/v1/chat", "llm/v1/chat")
    assert info.signature.inputs.required_input_names() == ["messages"]
    assert "role: string (required)" in repr(info.signature.inputs)
    assert {"temperature", "max_tokens", "model"} <= {param.name for param in info.signature.params}
    assert {"id", "choices", "usage"} <= set(info.signature.outputs.input_names())

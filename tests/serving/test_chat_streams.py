"""A streamed chat completion: it never says another text than the program's answer and then ends well."""

import itertools
import json

import dspy
import mlflow
import pytest
from openai.types.chat import ChatCompletionChunk

from mlflow_dspy_plugin.errors import CallError, InputError
from mlflow_dspy_plugin.seams.lm_shapes import Answer
from mlflow_dspy_plugin.serving.chat import Answered
from mlflow_dspy_plugin.serving.completions import Chunks, Reply
from mlflow_dspy_plugin.serving.spending import Spent
from tests.conftest import store  # noqa: F401
from tests.fakes import openai_server
from tests.fakes.openai_server import OpenAIServer, Usage
from tests.fakes.script import chat_text
from tests.serving import chatty

ASK = {"messages": [{"role": "user", "content": "What bear?"}]}
BEARS = "the black bear " * 9 + "end"


@pytest.fixture
def server():
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def served(server):
    def save(program, answer, adapter=None, task="llm/v1/chat"):
        """A program with a language model that answers this, or what this makes of its messages."""
        server.models["bears"] = lambda messages, body: answer(messages) if callable(answer) else answer
        lm = dspy.LM("openai/bears", api_base=server.base_url, cache=False, num_retries=0)
        dspy.configure(lm=lm, adapter=adapter or dspy.ChatAdapter())
        mlflow.dspy.save_model(program, "model", task=task, infer_code_paths=False)
        dspy.configure(lm=None, adapter=None)
        return mlflow.pyfunc.load_model("model")

    return save


def texts(stream) -> list[str]:
    """The pieces of text in the chunks, each as OpenAI's own client reads it."""
    deltas = [ChatCompletionChunk.model_validate(chunk).choices[0].delta for chunk in stream]
    return [delta.content for delta in deltas if delta.content]


# -- what is sent -----------------------------------------------------------------------------


class Retrieves(dspy.Module):
    """Asks for a query, and answers by what it finds; a judge has a text of its own."""

    def __init__(self):
        super().__init__()
        self.query = dspy.Predict("question -> query")
        self.respond = dspy.ChainOfThought("context, question -> answer")
        self.judge = dspy.Predict("question, answer -> critique")

    def forward(self, question: str):
        answer = self.respond(context=self.query(question=question).query, question=question)
        self.judge(question=question, answer=answer.answer)
        return answer


def test_of_several_predictors_the_one_that_answers_is_streamed(served):
    fields = {"query": "bears", "reasoning": "hm", "answer": BEARS, "critique": "good"}
    pieces = texts(served(Retrieves(), chat_text(fields)).predict_stream(ASK))
    assert len(pieces) > 3
    assert "".join(pieces) == BEARS


class Backwards(dspy.Module):
    """Has the predictor last that it asks first."""

    def __init__(self):
        super().__init__()
        self.tell = dspy.Predict("query -> story")
        self.search = dspy.Predict("question -> query")

    def forward(self, question: str):
        return self.tell(query=self.search(question=question).query)


def test_where_the_wrong_predictor_was_streamed_the_next_answers_come_whole(served):
    model = served(Backwards(), chat_text({"query": "bears", "story": BEARS}))
    with pytest.raises(CallError, match="answered other than what was streamed, which is the text of 'query'"):
        texts(model.predict_stream(ASK))
    assert texts(model.predict_stream(ASK)) == [BEARS]


@pytest.mark.parametrize("kind", [dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter])
def test_the_text_is_the_same_whichever_adapter_reads_it(kind, served):
    answer = 'a "black" bear,\n\n' + BEARS + '\n and {"é": [1]} 😀 of ' + BEARS
    written = {
        dspy.ChatAdapter: chat_text({"reasoning": "hm", "answer": answer}),
        dspy.JSONAdapter: json.dumps({"reasoning": "hm", "answer": answer}),
        dspy.XMLAdapter: f"<reasoning>\nhm\n</reasoning>\n\n<answer>\n{answer}\n</answer>",
    }[kind]
    pieces = texts(served(dspy.ChainOfThought("question -> answer"), written, kind()).predict_stream(ASK))
    assert len(pieces) > 3
    assert "".join(pieces) == answer


# Language models forget the mark of the end.
@pytest.mark.parametrize("end", ["\n\n[[ ## completed ## ]]", ""], ids=["marked", "unmarked"])
@pytest.mark.parametrize(
    "answer",
    [f"{BEARS} [[ ## x ## ]] {BEARS}", f"{BEARS} [[ ##", "x[[1, 2]] of [[bears]] [[ now and then " * 9 + "end", "bear"],
    ids=["header", "half a header", "brackets", "short"],
)
def test_a_text_that_looks_like_the_end_of_its_field_is_sent_to_its_end(answer, end, served):
    model = served(dspy.Predict("question -> answer"), f"[[ ## answer ## ]]\n{answer}{end}")
    assert "".join(texts(model.predict_stream(ASK))) == answer


# -- what cannot be taken back ----------------------------------------------------------------


class Changes(dspy.Module):
    """Takes a word out of what the language model has written."""

    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question: str):
        return dspy.Prediction(answer=self.ask(question=question).answer.replace("black", "*****"))


class AsksAgain(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question: str):
        self.ask(question=question)
        return self.ask(question=f"{question} Another?")


def again(messages):
    return chat_text({"answer": f"second {BEARS}" if "Another?" in messages[-1]["content"] else f"first {BEARS}"})


@pytest.mark.parametrize(
    ("program", "answer"),
    [(Changes, chat_text({"answer": BEARS})), (AsksAgain, again)],
    ids=["Changes", "AsksAgain"],
)
def test_a_stream_of_another_text_than_the_answer_ends_in_an_error(program, answer, served):
    model, got = served(program(), answer), []
    with pytest.raises(CallError, match="answered other than what was streamed"):
        got.extend(model.predict_stream(ASK))
    assert texts(got)
    assert {chunk["choices"][0]["finish_reason"] for chunk in got} == {None}
    # There is no such thing to say of the whole answer.
    assert model.predict(ASK)["choices"][0]["message"]["content"]


class Adds(dspy.Module):
    def __init__(self):
        super().__init__()
        self.ask = dspy.Predict("question -> answer")

    def forward(self, question: str):
        return f"{self.ask(question=question).answer} (as far as I know)"


def test_what_a_program_adds_to_the_text_is_sent_at_the_end(served):
    *pieces, last = texts(served(Adds(), chat_text({"answer": BEARS})).predict_stream(ASK))
    assert last.endswith(" (as far as I know)")
    assert "".join([*pieces, last]) == f"{BEARS} (as far as I know)"


@pytest.mark.parametrize("task", ["llm/v1/chat", "agent/v1/responses", None])
@pytest.mark.parametrize("how", ["cut", "ends_early"])
def test_an_answer_that_breaks_off_ends_the_stream_in_an_error(how, task, served):
    asked = itertools.count()

    def breaks_once(messages):
        # Some releases of DSPy ask again, for JSON.
        return (
            openai_server.Reply(chat_text({"answer": BEARS}), **{how: True})
            if not next(asked)
            else json.dumps({"answer": BEARS})
        )

    model = served(dspy.Predict("question -> answer"), breaks_once, task=task)
    request = {"llm/v1/chat": ASK, None: {"question": "What?"}}.get(task, {"input": ASK["messages"]})
    with pytest.raises(CallError) as raised:
        list(model.predict_stream(request))
    assert raised.value.error_code == "TEMPORARILY_UNAVAILABLE"


def test_several_answers_are_refused_for_a_stream_before_anybody_is_asked(served, server):
    model = served(dspy.Predict("question -> answer"), chat_text({"answer": BEARS}))
    with pytest.raises(InputError, match="'n' is 2, but a stream gives one answer"):
        list(model.predict_stream({**ASK, "n": 2}))
    assert not server.requests
    assert texts(model.predict_stream({**ASK, "n": 1}))


# -- what is told beside ----------------------------------------------------------------------


def test_the_usage_of_a_stream_is_what_its_provider_says(served):
    answer = openai_server.Reply(chat_text({"draft": "d", "answer": BEARS}), usage=Usage(10, 7))
    usage = list(served(chatty.TwoSteps(), answer).predict_stream(ASK))[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (20, 14, 34)


def test_a_usage_that_no_provider_tells_is_left_out():
    spent = Spent()
    *_, known = Chunks("bears").of(Answered([Reply("the black bear")], "bears", spent, None))
    assert known["usage"]["total_tokens"] == 0
    spent.add("task", Answer(), {}, None)
    *_, unknown = Chunks("bears").of(Answered([Reply("the black bear")], "bears", spent, None))
    assert "usage" not in unknown and unknown["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("asked", [True, False])
def test_messages_of_tools_are_told_where_they_are_asked_for(asked, served):
    answers = chatty.looking(BEARS)
    model = served(dspy.ReAct("question -> answer", tools=[chatty.look]), lambda messages: chat_text(next(answers)))
    chunks = list(model.predict_stream({**ASK, "status_messages": asked}))
    told = [chunk for chunk in chunks if "status" in chunk]
    assert bool(told) == asked
    assert all(chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}] for chunk in told)
    assert "".join(texts(chunks)) == BEARS


def test_the_last_chunk_tells_the_trace_where_it_is_asked_for(served, traces):
    model = served(dspy.Predict("question -> answer"), chat_text({"answer": BEARS}))
    assert not any("trace_id" in chunk for chunk in model.predict_stream(ASK))
    mlflow.dspy.autolog()
    *_, last = model.predict_stream({**ASK, "return_trace_id": True})
    assert last["trace_id"] in {trace.info.trace_id for trace in traces()}

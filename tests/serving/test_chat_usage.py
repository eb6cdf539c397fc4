"""The `usage` of a completion: the tokens of the language model calls that were made for that request, and no other."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import dspy
import mlflow
import pytest

from tests.fakes.openai_server import OpenAIServer, Reply, Usage
from tests.fakes.script import chat_text
from tests.packaging.no_store import store  # noqa: F401
from tests.serving import chatty


def asked(messages) -> str:
    """The number in the question."""
    return "".join(letter for letter in messages[-1]["content"].split("Respond")[0] if letter.isdigit())


def costly(messages, body):
    """An answer that costs ten tokens, and as many as the number in the question."""
    fields = chat_text({"answer": "bear", "draft": "d"})
    return Reply(fields, usage=Usage(10, int(asked(messages) or 0), cached_tokens=4, reasoning_tokens=2))


@pytest.fixture
def server():
    with OpenAIServer({"bears": costly}) as running:
        yield running


@pytest.fixture
def served(server):
    def save(program=None, cache=False, **options):
        lm = dspy.LM("openai/bears", api_base=server.base_url, num_retries=0, cache=cache)
        dspy.configure(lm=lm, adapter=dspy.ChatAdapter())
        program = program or dspy.Predict("question -> answer")
        mlflow.dspy.save_model(program, "model", task="llm/v1/chat", **options)
        dspy.configure(lm=None)
        return mlflow.pyfunc.load_model("model")

    return save


def usage(model, question: str, **body) -> dict[str, int]:
    told = model.predict({"messages": [{"role": "user", "content": question}], **body})["usage"]
    return {name: count for name, count in told.items() if not isinstance(count, dict)}


def tokens(sent: int, got: int) -> dict[str, int]:
    return {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": sent + got}


def test_the_usage_is_that_of_the_call(served):
    model = served()
    assert usage(model, "100") == tokens(10, 100)
    told = model.predict({"messages": [{"role": "user", "content": "100"}]})["usage"]
    assert told["prompt_tokens_details"] == {"cached_tokens": 4}
    assert told["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_the_usage_of_several_steps_is_their_sum(served):
    assert usage(served(chatty.TwoSteps()), "100") == tokens(20, 100)


def test_calls_in_threads_of_dspy_s_count_too(served):
    # Twice three questions with a number of one digit after "1", and the question itself.
    assert usage(served(chatty.Threads()), "1") == tokens(70, 2 * (10 + 11 + 12) + 1)


def test_calls_in_tasks_count_too(served):
    assert usage(served(chatty.Gathering()), "100") == tokens(30, 300)


@pytest.mark.parametrize("autolog", [False, True])
@pytest.mark.parametrize("program", [None, chatty.Threads], ids=["one call", "threads"])
def test_requests_at_once_do_not_mix_their_usage(served, server, program, autolog):
    model = served(program and program())
    mlflow.dspy.autolog(log_traces=False, log_compiles=autolog, log_evals=autolog, disable=not autolog)
    server.latency = 0.02
    together = threading.Barrier(8)

    def ask(number: int) -> dict:
        together.wait()
        return usage(model, str(number))

    numbers = range(100, 116)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(ask, numbers))
    expected = [2 * (30 * number + 3) + number if program else number for number in numbers]
    assert told == [tokens(70 if program else 10, got) for got in expected]


def test_what_dspy_s_cache_answers_costs_nothing(served, server):
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    try:
        model = served(cache=True)
        assert usage(model, "100") == tokens(10, 100)
        assert usage(model, "100") == tokens(0, 0)
        assert usage(model, "100", cache=False) == tokens(10, 100)
    finally:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    assert server.request_count == 2


def test_a_program_that_asks_no_language_model_has_used_nothing():
    mlflow.dspy.save_model(chatty.Text(), "model", task="llm/v1/chat")
    assert usage(mlflow.pyfunc.load_model("model"), "100") == tokens(0, 0)


def test_calls_outside_of_a_request_are_not_counted(served, server):
    model = served()
    other = dspy.LM("openai/bears", api_base=server.base_url, num_retries=0, cache=False)
    stopped = threading.Event()

    def meanwhile():
        while not stopped.is_set():
            other("999")

    thread = threading.Thread(target=meanwhile)
    thread.start()
    try:
        assert [usage(model, "100") for _ in range(5)] == 5 * [tokens(10, 100)]
    finally:
        stopped.set()
        thread.join()


@pytest.mark.parametrize(("reason", "told"), [("length", "length"), ("stop", "stop")])
def test_an_answer_that_was_cut_says_so(served, server, reason, told):
    server.models["bears"] = lambda messages, body: Reply(chat_text({"answer": "bear"}), finish_reason=reason)
    answer = served().predict({"messages": [{"role": "user", "content": "x"}]})
    assert [choice["finish_reason"] for choice in answer["choices"]] == [told]
    json.dumps(answer)

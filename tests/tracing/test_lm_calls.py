"""The span of an LM call tells what was asked, what came back, by whom and how: for every kind of LM, in every mode."""

import asyncio
import importlib.util
from types import SimpleNamespace

import dspy
import mlflow
import pydantic
import pytest
from mlflow.entities import SpanType

from mlflow_dspy_plugin.seams.lm_shapes import Chunk
from mlflow_dspy_plugin.tracing.lm_calls import Chunks
from tests.fakes.openai_server import Fault, OpenAIServer, Reply, ToolCalls, Usage
from tests.fakes.scripted import HAS_ENGINES, Answer, scripted_lm
from tests.tracing.trees import spans_named, text_answered, text_of
from tests.tracing.viewer import shows

USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"
SERVED = "gpt-4o-mini-2024-07-18"
KEY = "sk-canary-of-a-call-0123456789"
TEXT = "[[ ## answer ## ]]\n" + " ".join(f"word{i}" for i in range(200)) + "\n\n[[ ## completed ## ]]"
REPLIES = {
    "gpt-4o-mini": Reply("hello", usage=Usage(1000, 100, cached_tokens=400, reasoning_tokens=30), model=SERVED),
    "thinker": Reply("so", reasoning="because"),
    "planner": ToolCalls([("weather", {"city": "Oslo"})]),
    "cut": Reply("cut", finish_reason="length"),
    "long": Reply(TEXT, usage=Usage(50, 400)),
}


class Limited:
    """A model that is over its limit at first."""

    def __init__(self, times):
        self.left = times

    def __call__(self, messages, body):
        self.left -= 1
        return Fault(429, "Slow down, {key}.", retry_after=0) if self.left >= 0 else Reply("hello")


@pytest.fixture(scope="module")
def server():
    models = {name: lambda messages, body, reply=reply: reply for name, reply in REPLIES.items()}
    with OpenAIServer(models) as running:
        yield running


@pytest.fixture
def remote(server):
    def make(model="gpt-4o-mini", **settings):
        given = {"cache": False, "api_key": KEY, **settings}
        return dspy.LM(f"openai/{model}", api_base=server.base_url, **given)

    return make


@pytest.fixture
def lm_span(trace):
    """Reads the span of the one LM call that the test made."""

    def read(name="LM.__call__"):
        [span] = spans_named(trace(), name)
        return span

    return read


def call(lm, *args, **kwargs):
    return lm(*args, **kwargs)


def acall(lm, *args, **kwargs):
    return asyncio.run(lm.acall(*args, **kwargs))


# An LM kind: its settings, and the type of its span.
KINDS = {"chat": ({}, SpanType.CHAT_MODEL), "text": ({"model_type": "text"}, SpanType.LLM)}
if HAS_ENGINES:
    KINDS["responses"] = ({"model_type": "responses"}, SpanType.LLM)
    KINDS["chat by LiteLLM"] = ({"engine": "litellm"}, SpanType.CHAT_MODEL)
# LiteLLM imports it for this API, and does not require it.
if HAS_ENGINES and importlib.util.find_spec("mcp") is not None:
    KINDS["responses by LiteLLM"] = ({"engine": "litellm", "model_type": "responses"}, SpanType.LLM)


@pytest.mark.parametrize("way", [call, acall])
@pytest.mark.parametrize("kind", KINDS)
def test_the_span_tells_all_of_a_call(kind, way, remote, lm_span):
    settings, span_type = KINDS[kind]
    way(remote(**settings), "hi", temperature=0.5, api_key=KEY)
    span = lm_span()
    assert (span.span_type, span.attributes["mlflow.message.format"]) == (span_type, "openai")
    assert span.inputs["messages"] == [{"role": "user", "content": "hi"}]
    assert (span.inputs["temperature"], span.inputs["api_key"]) == (0.5, "[REDACTED]")
    assert (text_answered(span), span.outputs["model"]) == ("hello", SERVED)
    assert shows(span.inputs, span.outputs)
    told = span.attributes
    assert (told["model"], told["mlflow.llm.model"], told["mlflow.llm.provider"]) == (
        "openai/gpt-4o-mini",
        "openai/gpt-4o-mini",
        "openai",
    )
    assert (told["response_model"], told["finish_reasons"]) == (SERVED, ["stop"])
    assert told["response_id"] == span.outputs["id"]
    assert (told["temperature"], told["cache_hit"]) == (0.5, False)
    assert told[USAGE] == {
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "cache_read_input_tokens": 400,
        "reasoning_tokens": 30,
    }
    assert (told["requests"], told["retries"]) == (1, 0)
    assert 0 < told["latency_ms"] <= (span.end_time_ns - span.start_time_ns) / 1e6
    assert "truncated" not in told
    assert not span.events


def test_no_key_of_a_call_is_stored(remote, trace):
    remote()("hi", api_key=KEY, extra_headers={"X-Gateway": KEY})
    found = trace()
    assert spans_named(found, "LM.__call__")
    assert KEY not in text_of(found)


def test_the_cost_is_the_one_that_dspy_knows(remote, lm_span):
    lm = remote()
    lm("hi")
    cost = lm_span().attributes[COST]
    assert cost["total_cost"] == pytest.approx(lm.history[-1]["cost"])
    # MLflow's list of prices, where the release has one, tells its parts.
    assert sum(cost.values()) == pytest.approx(cost["total_cost"] * (2 if len(cost) > 1 else 1))


def test_every_candidate_is_a_choice_and_the_tokens_are_counted_once(remote, lm_span):
    remote(temperature=1.0)("hi", n=3)
    span = lm_span()
    assert [choice["message"]["content"] for choice in span.outputs["choices"]] == ["hello"] * 3
    assert span.attributes["finish_reasons"] == ["stop"] * 3
    # dspy >= 3.4 asks three times; LiteLLM once, for three.
    assert span.attributes["requests"] == (3 if HAS_ENGINES else 1)
    assert span.attributes["retries"] == 0
    assert span.attributes[USAGE]["output_tokens"] == 300
    assert span.attributes[USAGE]["input_tokens"] == (3000 if HAS_ENGINES else 1000)


def test_reasoning_is_beside_the_text(remote, lm_span):
    remote("thinker")("hi")
    [choice] = lm_span().outputs["choices"]
    assert choice["message"] == {"role": "assistant", "content": "so", "reasoning": "because"}


def test_calls_of_tools_are_shown(remote, lm_span):
    remote("planner")("hi")
    span = lm_span()
    [choice] = span.outputs["choices"]
    [called] = choice["message"]["tool_calls"]
    assert called["function"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert shows(span.inputs, span.outputs)


def test_tools_and_the_form_of_the_answer_are_inputs(lm_span):
    class Form(pydantic.BaseModel):
        city: str

    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    scripted_lm("{}")("hi", tools=[tool], response_format=Form)
    span = lm_span()
    assert span.inputs["tools"] == [tool]
    schema = span.inputs["response_format"]["json_schema"]
    assert (schema["name"], list(schema["schema"]["properties"])) == ("Form", ["city"])
    assert not {"tools", "response_format"} & set(span.attributes)


def test_an_answer_that_was_cut_short_says_so(remote, lm_span):
    remote("cut")("hi")
    span = lm_span()
    assert (span.attributes["truncated"], span.attributes["finish_reasons"]) == (True, ["length"])
    assert [(event.name, event.attributes) for event in span.events] == [("truncated", {"finish_reason": "length"})]


@pytest.mark.parametrize("way", [call, acall])
def test_requests_that_were_repeated_are_counted(way, server, remote, trace):
    server.models["limited"], before = Limited(2), server.request_count
    way(remote("limited"), "hi")
    found = trace()
    [span] = spans_named(found, "LM.__call__")
    assert server.request_count - before == 3
    assert (span.attributes["requests"], span.attributes["retries"]) == (3, 2)
    # LiteLLM does not tell what went wrong before it went well.
    assert [event.name for event in span.events] == ["retry"] * (2 if HAS_ENGINES else 0)
    assert KEY not in text_of(found)


def test_a_call_that_fails_tells_how_often_it_was_tried(server, remote, lm_span):
    server.models["limited"], before = Limited(9), server.request_count
    with pytest.raises(Exception, match="Slow down"):
        remote("limited", num_retries=1)("hi")
    span = lm_span()
    assert span.attributes["requests"] == server.request_count - before >= 2
    assert span.attributes["retries"] == span.attributes["requests"] - 1
    assert not {"latency_ms", "cache_hit", USAGE} & set(span.attributes)
    assert span.outputs is None


@pytest.mark.parametrize("by", ["chat", *(["chat by LiteLLM"] if HAS_ENGINES else [])])
def test_what_dspy_s_cache_answers_is_not_billed_and_tells_what_it_saved(by, remote, traces):
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    try:
        lm = remote(cache=True, **KINDS[by][0])
        for _ in range(2):
            lm("hi")
    finally:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    first, second = (found.data.spans[0] for found in sorted(traces(), key=lambda found: found.info.request_time))
    assert (first.attributes["cache_hit"], second.attributes["cache_hit"]) == (False, True)
    assert second.attributes["cache_saved_tokens"] == first.attributes[USAGE]
    assert second.attributes["cache_saved_cost"] == first.attributes[COST]["total_cost"]
    assert not {USAGE, COST, "requests", "latency_ms"} & set(second.attributes)
    assert second.outputs == first.outputs


async def stream(program):
    return [part async for part in dspy.streamify(program, is_async_program=False)(question="q")]


async def astream(program):
    return [part async for part in dspy.streamify(program, is_async_program=True)(question="q")]


@pytest.mark.parametrize("way", [stream, astream])
@pytest.mark.parametrize("track_usage", [True, False])
def test_a_stream_tells_when_it_came(track_usage, way, server, remote, lm_span):
    with dspy.context(lm=remote("long"), track_usage=track_usage):
        *_, prediction = asyncio.run(way(dspy.Predict("question -> answer")))
        assert dspy.settings.track_usage is track_usage
    assert prediction.answer.startswith("word0 word1")
    span = lm_span()
    chunks = [event for event in span.events if event.name == "chunk"]
    assert text_answered(span) == TEXT
    assert len(chunks) <= 100 < span.attributes["chunks"]
    assert chunks[0].attributes["number"] == 1
    assert chunks[-1].attributes == {"number": span.attributes["chunks"], "characters": len(TEXT)}
    times = [event.timestamp for event in chunks]
    assert times == sorted(times)
    assert span.start_time_ns < times[0]
    assert 0 < span.attributes["time_to_first_token_ms"] <= span.attributes["latency_ms"]
    # LiteLLM has the tokens counted only where `track_usage` is on, which is the user's to say.
    if track_usage or HAS_ENGINES:
        assert span.attributes[USAGE]["total_tokens"] == 450
        assert "usage_estimated" not in span.attributes
    else:
        assert USAGE not in span.attributes or span.attributes["usage_estimated"]


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 10_000])
def test_however_many_chunks_there_are_the_first_the_last_and_a_few_between_are_events(count):
    chunks = Chunks()
    for _ in range(count):
        chunks.add(Chunk(3, True))
    numbers = [number for number, _, _ in chunks.all()]
    assert (numbers[0], numbers[-1], chunks.count, chunks.characters) == (1, count, count, 3 * count)
    assert numbers == sorted(set(numbers))
    assert min(count, 32) <= len(numbers) <= 65


class Own(dspy.BaseLM):
    """An LM of the user's, with a way of its own to get an answer."""

    def __init__(self, answer, model_type="chat"):
        super().__init__("own/model", model_type=model_type)
        self.answer = answer

    def forward(self, prompt=None, messages=None, **kwargs):
        return self.answer(messages or prompt)

    async def aforward(self, prompt=None, messages=None, **kwargs):
        return self.answer(messages or prompt)


def own_response(text="hello", usage=None):
    message = SimpleNamespace(content=text, tool_calls=None)
    choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=None)
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10} if usage is None else usage
    return SimpleNamespace(choices=[choice], usage=usage, model="own-model-1", id="own-1")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", [call, acall])
def test_an_lm_of_the_user_s_tells_what_it_has(way, lm_span):
    way(Own(lambda asked: own_response()), "hi")
    span = lm_span("Own.__call__")
    assert span.inputs["messages"] == [{"role": "user", "content": "hi"}]
    assert span.outputs["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "hello"},
        "finish_reason": "stop",
    }
    assert (span.attributes["response_model"], span.attributes["response_id"]) == ("own-model-1", "own-1")
    assert span.attributes[USAGE] == {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    assert shows(span.inputs, span.outputs)


def test_dspy_s_own_dummy_tells_what_it_has(lm_span):
    dspy.utils.DummyLM([{"answer": "a"}])("hi")
    span = lm_span("DummyLM.__call__")
    assert shows(span.inputs, span.outputs)
    assert "[[ ## answer ## ]]" in text_answered(span)


@pytest.mark.skipif(not HAS_ENGINES, reason="this dspy has no typed requests")
def test_a_typed_request_is_told_as_a_chat(lm_span):
    lm = scripted_lm("hello")
    request = dspy.lm15.Request(lm.model, (dspy.lm15.Message.user("hi"),), config=dspy.lm15.Config(max_tokens=9))
    assert lm(request).message.text == "hello"
    span = lm_span()
    assert (span.inputs["messages"], span.inputs["max_tokens"]) == ([{"role": "user", "content": "hi"}], 9)
    assert text_answered(span) == "hello"


@pytest.mark.skipif(not HAS_ENGINES, reason="LiteLLM gets all candidates at once")
def test_candidates_that_came_before_one_failed_are_billed(lm_span):
    lm = scripted_lm([Answer("a", usage=Usage(10, 5)), Answer("b", usage=Usage(10, 5)), ConnectionError("gone")])
    with pytest.raises(Exception, match="gone"):
        lm("hi", n=3, temperature=1.0)
    span = lm_span()
    assert span.attributes[USAGE]["total_tokens"] == 30
    assert span.outputs is None


def test_the_span_can_be_told_as_opentelemetry_does(remote, trace):
    translator = pytest.importorskip("mlflow.tracing.export.genai_semconv.translator")
    remote("planner")("hi", temperature=0.5)
    [span] = spans_named(trace(), "LM.__call__")
    told = translator.translate_span_to_genai(span._span)
    assert told.name == "chat openai/planner"
    attributes = told.attributes
    assert '"content": "hi"' in attributes["gen_ai.input.messages"]
    assert '"tool_call"' in attributes["gen_ai.output.messages"]
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.response.model"] == "planner"
    assert list(attributes["gen_ai.response.finish_reasons"]) == ["tool_calls"]
    assert attributes["gen_ai.usage.input_tokens"] == span.attributes[USAGE]["input_tokens"]


def test_what_was_patched_is_put_back():
    """No hook stays in DSPy, or in the libraries below it."""
    mlflow.dspy.autolog(disable=True)
    names = ["dspy.clients.lm", "dspy.clients.base_lm", "dspy.clients.cache", "httpx"]
    names += ["dspy.clients.execution", "dspy.clients.engines.streaming"] if HAS_ENGINES else []
    before = {name: patched_in(name) for name in names}
    mlflow.dspy.autolog()
    assert any(patched_in(name) != before[name] for name in names)
    mlflow.dspy.autolog(disable=True)
    assert {name: patched_in(name) for name in names} == before


def patched_in(name):
    """Every function of a module and of its classes, by its place."""
    module = __import__(name, fromlist=["_"])
    classes = {key: vars(value) for key, value in vars(module).items() if isinstance(value, type)}
    spaces = {"": vars(module), **classes}
    return {
        (space, key): id(value) for space, values in spaces.items() for key, value in values.items() if callable(value)
    }

"""Values of spans -> OpenTelemetry's attributes for generative AI."""

import json

import pytest
from mlflow.entities import SpanEvent, SpanType
from opentelemetry.sdk.trace import Event, ReadableSpan

from mlflow_dspy_plugin.seams.spans import INPUTS, OUTPUTS
from mlflow_dspy_plugin.tracing.conversations import conversation_of
from mlflow_dspy_plugin.tracing.semconv import attributes_of

TYPE, USAGE = "mlflow.spanType", "mlflow.chat.tokenUsage"
CHAT = {TYPE: SpanType.CHAT_MODEL, "mlflow.llm.model": "openai/gpt-4o-mini", "mlflow.llm.provider": "openai"}
ASKED = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o-mini"}
FULL = {
    **CHAT,
    "temperature": 1,
    "model_type": "chat",
    "cache": False,
    USAGE: {
        **{"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        **{"cache_read_input_tokens": 4, "cache_creation_input_tokens": 2, "reasoning_tokens": 3},
    },
    "response_model": "gpt-4o-mini-2024-07-18",
    "response_id": "chatcmpl-1",
    "finish_reasons": ["stop", "length"],
    "time_to_first_token_ms": 250.0,
    "chunks": 7,
    INPUTS: {
        "messages": [],
        **{"temperature": 0, "top_p": 1, "top_k": 40, "frequency_penalty": 0.5, "presence_penalty": -1},
        **{"max_completion_tokens": 100, "seed": 3, "n": 2, "stop": "###", "api_key": "[REDACTED]"},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}],
    },
}
TOLD = {
    **ASKED,
    "gen_ai.request.temperature": 0.0,
    "gen_ai.request.top_p": 1.0,
    "gen_ai.request.top_k": 40.0,
    "gen_ai.request.frequency_penalty": 0.5,
    "gen_ai.request.presence_penalty": -1.0,
    "gen_ai.request.max_tokens": 100,
    "gen_ai.request.seed": 3,
    "gen_ai.request.choice.count": 2,
    "gen_ai.request.stop_sequences": ["###"],
    "gen_ai.request.stream": True,
    "gen_ai.tool.definitions": '[{"type": "function", "name": "f", "description": "d", "parameters": {}}]',
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ["stop", "length"],
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.usage.cache_creation.input_tokens": 2,
    "gen_ai.usage.reasoning.output_tokens": 3,
}


def a_span(values, name="LM.__call__", events=()):
    """A span that has ended, with these values as MLflow keeps them."""
    return ReadableSpan(name, attributes={key: json.dumps(value) for key, value in values.items()}, events=events)


def test_a_language_model_is_told_with_all_that_is_known():
    told = attributes_of(a_span(FULL))
    assert told == TOLD
    assert {key: type(value) for key, value in told.items()} == {key: type(value) for key, value in TOLD.items()}


@pytest.mark.parametrize(
    ("values", "told"),
    {
        "a temperature that is no number": ({"temperature": "hot"}, {}),
        "a number that is none": ({INPUTS: {"top_p": float("nan"), "seed": float("inf")}}, {}),
        "a flag for a number": ({INPUTS: {"temperature": True, "max_tokens": False}}, {}),
        "half a token": ({USAGE: {"input_tokens": 1.5}}, {}),
        "a whole number as float": ({INPUTS: {"max_tokens": 10.0}}, {"gen_ai.request.max_tokens": 10}),
        "what is not given": ({INPUTS: {"temperature": None, "n": 1, "stop": []}, USAGE: None}, {}),
        "mixed stops": ({INPUTS: {"stop": ["a", 1]}}, {}),
        "inputs that are a text": ({INPUTS: "[text of 9 characters]", OUTPUTS: "[text of 9 characters]"}, {}),
        "tools that are none": ({INPUTS: {"tools": "none"}}, {}),
    }.values(),
)
def test_what_does_not_fit_is_left_out(values, told):
    assert attributes_of(a_span({**CHAT, **values})) == {**ASKED, **told}


@pytest.mark.parametrize(
    ("model", "provider", "told"),
    [
        ("azure/my-deployment", "azure", ("azure.ai.openai", "my-deployment")),
        ("openrouter/anthropic/claude-4", "openrouter", ("openrouter", "anthropic/claude-4")),
        ("bedrock/anthropic.claude", None, ("aws.bedrock", "anthropic.claude")),
        ("meta-llama/Llama-3", "groq", ("groq", "meta-llama/Llama-3")),
        ("gpt-4o", None, (None, "gpt-4o")),
        ("/models/llama", None, (None, "/models/llama")),
    ],
)
def test_provider_and_model_have_the_names_of_the_conventions(model, provider, told):
    given = {"mlflow.llm.provider": provider} if provider else {}
    found = attributes_of(a_span({TYPE: SpanType.CHAT_MODEL, "mlflow.llm.model": model, **given}))
    assert (found.get("gen_ai.provider.name"), found["gen_ai.request.model"]) == told


def test_a_text_completion_is_one():
    completion = {**CHAT, TYPE: SpanType.LLM, "model_type": "text"}
    assert attributes_of(a_span(completion)) == {**ASKED, "gen_ai.operation.name": "text_completion"}


def test_a_response_of_openai_s_newer_api_is_a_chat():
    assert attributes_of(a_span({**CHAT, TYPE: SpanType.LLM, "model_type": "responses"})) == ASKED


@pytest.mark.parametrize("span_type", [SpanType.LLM, SpanType.PARSER, SpanType.UNKNOWN])
def test_a_step_that_the_conventions_do_not_know_has_no_attributes(span_type):
    predictor = a_span({TYPE: span_type, "signature": "q -> a", INPUTS: {"q": 1}}, "Predict.forward")
    assert attributes_of(predictor) == conversation_of(predictor) == {}


def test_a_tool_has_its_name_arguments_and_result():
    values = {TYPE: SpanType.TOOL, "name": "f", "description": "Do.", "args": {}, INPUTS: {"x": 1}, OUTPUTS: ["ä", 2]}
    assert attributes_of(a_span(values, "Tool.f")) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "f",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Do.",
        "gen_ai.tool.call.arguments": '{"x": 1}',
        "gen_ai.tool.call.result": '["ä", 2]',
    }


def test_a_code_interpreter_is_a_tool_by_the_name_of_its_span():
    told = attributes_of(a_span({TYPE: SpanType.TOOL, INPUTS: {"code": "1"}}, "PythonInterpreter.execute"))
    assert told == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "PythonInterpreter.execute",
        "gen_ai.tool.call.arguments": '{"code": "1"}',
    }


def test_a_retriever_has_query_and_documents():
    found = [
        {"page_content": "one", "metadata": {"score": 0.5, "more": 1}, "id": "7"},
        {"page_content": "two", "metadata": {}, "id": None},
    ]
    values = {TYPE: SpanType.RETRIEVER, "k": 2, INPUTS: {"query": "q"}, OUTPUTS: found}
    assert attributes_of(a_span(values, "Embeddings.__call__")) == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.request.top_k": 2.0,
        "gen_ai.retrieval.query.text": "q",
        "gen_ai.retrieval.documents": '[{"id": "7", "score": 0.5, "content": "one"}, {"content": "two"}]',
    }


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ([], "[]"),
        (["text"], None),
        ({"passages": ["a"]}, None),
        ([{"page_content": "a", "metadata": None}], '[{"content": "a"}]'),
    ],
)
def test_only_documents_are_told_as_documents(outputs, told):
    found = attributes_of(a_span({TYPE: SpanType.RETRIEVER, OUTPUTS: outputs}))
    assert found.get("gen_ai.retrieval.documents") == told


def test_an_embedder_has_model_and_dimension():
    values = {TYPE: SpanType.EMBEDDING, "mlflow.llm.model": "openai/text-embedding-3-small"}
    told = attributes_of(a_span({**values, OUTPUTS: {"count": 3, "dimensions": 1536}}))
    assert told == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "text-embedding-3-small",
        "gen_ai.embeddings.dimension.count": 1536,
    }


@pytest.mark.parametrize(
    ("span_type", "told"),
    [
        (SpanType.AGENT, {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Solver"}),
        (SpanType.CHAIN, {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "Solver"}),
    ],
)
def test_agents_and_programs_have_the_name_of_their_class_and_one_message_each_way(span_type, told):
    span = a_span({TYPE: span_type, INPUTS: {"q": "ä"}, OUTPUTS: {"a": 1}}, "Solver.forward")
    assert attributes_of(span) == told
    assert conversation_of(span) == {
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": '{"q": "ä"}'}]}], ensure_ascii=False
        ),
        "gen_ai.output.messages": json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": '{"a": 1}'}], "finish_reason": "stop"}]
        ),
    }


def test_the_error_is_the_last_one():
    raised = [SpanEvent.from_exception(error) for error in (KeyError("a"), ValueError("b"))]
    events = [Event(event.name, event.attributes) for event in [*raised, SpanEvent("retry")]]
    assert attributes_of(a_span(CHAT, events=events)) == {**ASKED, "error.type": "ValueError"}


def test_an_attribute_that_is_no_json_is_taken_as_it_is():
    span = ReadableSpan("Tool.f", attributes={TYPE: '"TOOL"', "name": "f", "k": 3})
    assert attributes_of(span)["gen_ai.tool.name"] == "f"


def test_a_span_without_attributes_has_none():
    assert attributes_of(ReadableSpan("empty")) == conversation_of(ReadableSpan("empty")) == {}

"""Spans reach an OTLP receiver with the attributes of OpenTelemetry's conventions for generative AI, of the right types."""

import json

import mlflow
import pytest

from tests.fakes.openai_server import OpenAIServer, Reply, Usage
from tests.fakes.otlp_receiver import OtlpReceiver, needs_exporter
from tests.fakes.script import chat_text

pytestmark = needs_exporter
CANARY = "sk-otlp-canary-0b9d4e7f21c35a68"
STEPS = [
    {"next_thought": "look", "next_tool_name": "look_up", "next_tool_args": '{"term": "honey"}'},
    {"next_thought": "fail", "next_tool_name": "look_up", "next_tool_args": '{"term": "nothing"}'},
    {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": "{}"},
    {"reasoning": "found", "answer": "honey"},
]
MODES = {
    "beside the store": {"MLFLOW_TRACE_ENABLE_OTLP_DUAL_EXPORT": "true"},
    "only": {},
    "translated by MLflow": {"MLFLOW_ENABLE_OTEL_GENAI_SEMCONV": "true"},
}
HAS_TRANSLATOR = hasattr(mlflow.environment_variables, "MLFLOW_ENABLE_OTEL_GENAI_SEMCONV")
CHAT = {
    "gen_ai.operation.name": "string",
    "gen_ai.provider.name": "string",
    "gen_ai.request.model": "string",
    "gen_ai.request.temperature": "double",
    "gen_ai.request.max_tokens": "int",
    "gen_ai.response.model": "string",
    "gen_ai.response.id": "string",
    "gen_ai.response.finish_reasons": "[string]",
    "gen_ai.usage.input_tokens": "int",
    "gen_ai.usage.output_tokens": "int",
    "gen_ai.usage.cache_read.input_tokens": "int",
    "gen_ai.usage.reasoning.output_tokens": "int",
    "gen_ai.system_instructions": "string",
    "gen_ai.input.messages": "string",
    "gen_ai.output.messages": "string",
}


@pytest.fixture(scope="module", params=MODES)
def mode(request):
    return request.param


@pytest.fixture(scope="module")
def sent(mode, run_program):
    """The receiver after the program has ended, and what the program says."""
    steps = iter(STEPS)
    usage = Usage(120, 30, cached_tokens=64, reasoning_tokens=7)
    agent = {"agent": lambda messages, body: Reply(chat_text(next(steps)), usage)}
    own = {"OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=tests", "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    with OpenAIServer(agent) as lm, OtlpReceiver() as receiver:
        environment = {**own, **MODES[mode], **receiver.environment}
        program = run_program("otlp", LM_URL=lm.base_url, CANARY=CANARY, EXPERIMENT=f"OTLP {mode}", **environment)
        yield receiver, program.result


@pytest.fixture(scope="module")
def spans(sent):
    receiver, result = sent
    assert result["answer"] == "honey"
    return receiver.spans


def by_operation(spans, operation):
    return [span for span in spans if span.attributes.get("gen_ai.operation.name") == operation]


def test_the_whole_tree_arrives(spans):
    names = {span.span_id: span for span in spans}
    [root] = [span for span in spans if not span.parent_id and span.attributes.get("tenant")]
    ours = [span for span in spans if span.scope == "mlflow_dspy_plugin"]
    assert {names[span.parent_id].trace_id for span in ours} == {root.trace_id}
    counts = {
        name: len(by_operation(spans, name)) for name in ("invoke_workflow", "invoke_agent", "execute_tool", "chat")
    }
    assert counts == {"invoke_workflow": 2, "invoke_agent": 1, "execute_tool": 2, "chat": 4}


def test_an_lm_span_has_numbers_as_numbers(spans):
    first = by_operation(spans, "chat")[0]
    assert {key: kind for key, kind in first.types.items() if key.startswith("gen_ai.")} == CHAT
    told = first.gen_ai()
    assert first.kind == "CLIENT"
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("openai", "agent")
    assert (told["gen_ai.request.temperature"], told["gen_ai.request.max_tokens"]) == (0.0, 500)
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (120, 30)
    assert told["gen_ai.usage.cache_read.input_tokens"] == 64
    assert told["gen_ai.response.finish_reasons"] == ["stop"]


def test_an_lm_span_has_the_messages(spans):
    told = by_operation(spans, "chat")[0].gen_ai()
    [system] = json.loads(told["gen_ai.system_instructions"])
    [asked] = json.loads(told["gen_ai.input.messages"])
    [answered] = json.loads(told["gen_ai.output.messages"])
    assert system["type"] == "text" and "look_up" in system["content"]
    assert asked["role"] == "user" and "what do bears eat?" in asked["parts"][0]["content"]
    text = {"type": "text", "content": chat_text(STEPS[0])}
    assert answered == {"role": "assistant", "parts": [text], "finish_reason": "stop"}


def test_a_tool_span_has_its_arguments_and_its_result_or_error(spans):
    worked, failed = by_operation(spans, "execute_tool")
    same = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "look_up",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Look up a term.",
    }
    result = {"gen_ai.tool.call.arguments": '{"term": "honey"}', "gen_ai.tool.call.result": '"honey: sweet"'}
    error = {"gen_ai.tool.call.arguments": '{"term": "nothing"}', "error.type": "LookupError"}
    assert (worked.gen_ai(), worked.status) == ({**same, **result}, "OK")
    assert (failed.gen_ai(), failed.status) == ({**same, **error}, "ERROR")


def test_an_agent_span_has_what_it_was_asked_and_has_answered(spans):
    [agent] = by_operation(spans, "invoke_agent")
    told = agent.gen_ai()
    [asked] = json.loads(told.pop("gen_ai.input.messages"))
    [answered] = json.loads(told.pop("gen_ai.output.messages"))
    assert told == {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "ReAct"}
    assert json.loads(asked["parts"][0]["content"])["question"] == "what do bears eat?"
    assert json.loads(answered["parts"][0]["content"])["answer"] == "honey"


def test_a_retriever_span_has_the_query_and_the_documents(spans):
    [retriever] = by_operation(spans, "retrieval")
    told = retriever.gen_ai()
    documents = json.loads(told.pop("gen_ai.retrieval.documents"))
    assert told == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.retrieval.query.text": "what do bears eat?",
        "gen_ai.request.top_k": 2.0,
    }
    assert documents[0] == {"id": "0", "content": "bears eat honey"}
    assert (retriever.types["gen_ai.request.top_k"], retriever.kind) == ("double", "CLIENT")


def test_an_embedding_span_has_the_model_and_the_dimension(spans):
    [embedder] = by_operation(spans, "embeddings")
    assert embedder.gen_ai() == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.request.model": "vectors",
        "gen_ai.embeddings.dimension.count": 7,
    }
    assert embedder.types["gen_ai.embeddings.dimension.count"] == "int"


def test_mlflow_s_attributes_stay_unless_the_user_wants_the_conventions_only(spans, mode):
    ours = [span for span in spans if span.scope == "mlflow_dspy_plugin"]
    kept = {span.name for span in ours if "mlflow.spanType" in span.attributes}
    if mode == "translated by MLflow" and HAS_TRANSLATOR:
        assert kept == set()
        assert {"chat agent", "execute_tool look_up", "invoke_agent ReAct"} <= {span.name for span in ours}
    else:
        assert kept == {span.name for span in ours}


def test_spans_of_others_are_as_mlflow_makes_them(spans, mode):
    [serve] = [span for span in spans if span.attributes.get("tenant")]
    [afterwards] = [span for span in spans if span.scope != "mlflow_dspy_plugin" and span is not serve]
    if mode == "translated by MLflow" and HAS_TRANSLATOR:
        assert serve.gen_ai() == {"gen_ai.operation.name": "UNKNOWN"}
    else:
        assert serve.gen_ai() == afterwards.gen_ai() == {}
        assert (serve.name, serve.attributes["tenant"]) == ("serve", "7")


def test_the_store_gets_the_trace_only_where_both_are_asked_for_and_without_these_attributes(sent, mode):
    _, result = sent
    assert len(result["stored"]) == (2 if mode == "beside the store" else 0)
    assert result["gen_ai in the store"] == []


def test_no_key_leaves(sent):
    receiver, _ = sent
    headers = json.dumps(receiver.headers)
    assert "x-tenant" in headers
    for secret in (CANARY, "sk-integration-canary"):
        assert secret not in headers
        assert not [body for body in receiver.bodies if secret.encode() in body]

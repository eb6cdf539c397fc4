"""One call of a program is one trace, with each call under the one that made it."""

import dspy
import pytest

from tests.fakes.scripted import scripted_lm
from tests.tracing.trees import outline, predictor, spans_named, text_answered, under


class Pipeline(dspy.Module):
    """Two steps, one of them two floors down."""

    def __init__(self):
        super().__init__()
        self.first = dspy.ChainOfThought("question -> answer")
        self.second = dspy.Predict("answer -> verdict")

    def forward(self, question):
        answer = self.first(question=question).answer
        return dspy.Prediction(verdict=self.second(answer=answer).verdict)


def thought(inputs, outputs):
    return under(
        f"ChainOfThought.forward CHAIN OK {inputs} -> {outputs}",
        predictor(f"Predict.forward LLM OK {inputs} -> {outputs}"),
    )


PROGRAMS = {
    "Predict": (
        lambda: dspy.Predict("question -> answer"),
        [{"answer": "a"}],
        predictor("Predict.forward LLM OK {'question': 'q'} -> {'answer': 'a'}"),
    ),
    "ChainOfThought": (
        lambda: dspy.ChainOfThought("question -> answer"),
        [{"reasoning": "r", "answer": "a"}],
        thought({"question": "q"}, {"reasoning": "r", "answer": "a"}),
    ),
    "nested modules": (
        Pipeline,
        [{"reasoning": "r", "answer": "a"}, {"verdict": "v"}],
        under(
            "Pipeline.forward CHAIN OK {'question': 'q'} -> {'verdict': 'v'}",
            thought({"question": "q"}, {"reasoning": "r", "answer": "a"}),
            predictor("Predict.forward LLM OK {'answer': 'a'} -> {'verdict': 'v'}"),
        ),
    ),
}


@pytest.mark.parametrize(("make", "answers", "expected"), PROGRAMS.values(), ids=PROGRAMS)
def test_every_call_has_a_span_under_its_caller(make, answers, expected, trace):
    with dspy.context(lm=scripted_lm(answers)):
        make()(question="q")
    assert outline(trace()) == expected


def test_lm_and_adapter_spans_hold_what_was_sent_and_received(trace):
    lm = scripted_lm({"answer": "a"}, temperature=0.5)
    with dspy.context(lm=lm):
        dspy.Predict("question -> answer")(question="q")
    [sent] = lm.script.requests
    found = trace()
    [shaped] = spans_named(found, "ChatAdapter.format")
    [asked] = spans_named(found, "LM.__call__")
    [parsed] = spans_named(found, "ChatAdapter.parse")
    received = "[[ ## answer ## ]]\na\n\n[[ ## completed ## ]]"

    assert shaped.outputs == sent
    assert shaped.inputs.pop("signature").startswith("StringSignature(question -> answer\n")
    assert (shaped.inputs["demos"], shaped.inputs["inputs"]) == ([], {"question": "q"})
    assert asked.inputs["messages"] == sent
    assert text_answered(asked) == received
    assert parsed.inputs["completion"] == received
    assert parsed.outputs == {"answer": "a"}
    wanted = {
        "model": "scripted/model",
        "model_type": "chat",
        "cache": False,
        "temperature": 0.5,
        "mlflow.message.format": "openai",
        "mlflow.llm.model": "scripted/model",
        "mlflow.llm.provider": "scripted",
    }
    assert {key: asked.attributes.get(key) for key in wanted} == wanted


def test_a_predictor_says_its_signature(trace):
    dspy.ChainOfThought("question -> answer")(question="q", lm=scripted_lm({"reasoning": "r", "answer": "a"}))
    found = {span.name: span.attributes.get("signature") for span in trace().data.spans}
    assert found["ChainOfThought.forward"] == found["Predict.forward"] == "question -> reasoning, answer"


def test_a_bare_lm_call_is_a_trace(trace):
    scripted_lm("hello")("hi")
    [span] = trace().data.spans
    assert (span.span_type, text_answered(span)) == ("CHAT_MODEL", "hello")
    assert span.inputs["messages"] == [{"role": "user", "content": "hi"}]


def test_an_lm_that_is_no_dspy_lm_is_an_lm_span(trace):
    class OwnLM(dspy.utils.DummyLM):
        """On old releases a `BaseLM` that is no `dspy.LM`."""

    dspy.Predict("question -> answer")(question="q", lm=OwnLM([{"answer": "a"}]))
    [span] = spans_named(trace(), "OwnLM.__call__")
    assert span.span_type == "CHAT_MODEL"
    assert span.inputs["messages"][-1]["role"] == "user"


def search(query: str) -> str:
    """Look something up."""
    if query == "broken":
        raise LookupError("no such page")
    return f"about {query}"


def finish(query: str) -> str:
    """A tool of the user's that happens to be called so."""
    return query


def react_answers(*steps, answer="a"):
    """What an LM says that calls these tools and then answers."""
    thoughts = [{"next_thought": "t", "next_tool_name": name, "next_tool_args": args} for name, args in steps]
    return [*thoughts, {"reasoning": "r", "answer": answer}]


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ("bears", "Tool.search TOOL OK {'query': 'bears'} -> about bears"),
        ("broken", "Tool.search TOOL ERROR {'query': 'broken'} -> None !LookupError"),
    ],
)
def test_an_agent_has_its_tools_below_it(query, line, trace):
    agent = dspy.ReAct("question -> answer", tools=[search])
    answers = react_answers(("search", {"query": query}), ("finish", {}))
    with dspy.context(lm=scripted_lm(answers)):
        assert agent(question="q").answer == "a"
    found = trace()
    step = predictor("Predict.forward LLM OK")
    assert outline(found, content=False) == under(
        "ReAct.forward AGENT OK",
        step,
        line.split(" {")[0] + (" !LookupError" if query == "broken" else ""),
        step,
        under("ChainOfThought.forward CHAIN OK", step),
    )
    assert f"  {line}\n" in outline(found)


def test_a_tool_describes_itself(trace):
    dspy.Tool(search)(query="bears")
    [span] = trace().data.spans
    assert span.attributes["description"] == "Look something up."
    assert span.attributes["args"] == {"query": {"type": "string"}}


def test_a_tool_of_the_user_named_finish_is_traced(trace):
    dspy.Tool(finish)(query="bears")
    assert outline(trace()) == "Tool.finish TOOL OK {'query': 'bears'} -> bears\n"


def test_a_program_called_by_a_tool_is_below_the_tool(trace):
    expert = dspy.Predict("question -> answer")
    ask = dspy.Tool(lambda question: expert(question=question).answer, name="ask", desc="Ask.")
    ask(question="q")
    assert outline(trace()) == under(
        "Tool.ask TOOL OK {'question': 'q'} -> a",
        predictor("Predict.forward LLM OK {'question': 'q'} -> {'answer': 'a'}"),
    )


def test_an_adapter_that_cannot_parse_is_an_error_and_its_fallback_is_there(trace):
    lm = scripted_lm(["no fields at all", '{"answer": "a"}'])
    with dspy.context(lm=lm):
        dspy.Predict("question -> answer")(question="q")
    assert outline(trace()) == under(
        "Predict.forward LLM OK {'question': 'q'} -> {'answer': 'a'}",
        "ChatAdapter.format PARSER OK",
        "LM.__call__ CHAT_MODEL OK",
        "ChatAdapter.parse PARSER ERROR !AdapterParseError",
        "JSONAdapter.format PARSER OK",
        "LM.__call__ CHAT_MODEL OK",
        "JSONAdapter.parse PARSER OK",
    )

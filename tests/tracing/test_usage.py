"""Tokens and cost are on the spans of LM calls, and add up once for the trace."""

import dspy
import pytest

from tests.fakes.openai_server import OpenAIServer, Reply
from tests.fakes.scripted import Answer, Usage, scripted_lm
from tests.tracing.trees import spans_named

USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"


def tokens(inputs, outputs, cached=0):
    return {
        "input_tokens": inputs,
        "output_tokens": outputs,
        "total_tokens": inputs + outputs,
        "cache_read_input_tokens": cached,
    }


def counted(info):
    """The figures of a trace that every release of MLflow sums up."""
    return [info.token_usage[key] for key in ("input_tokens", "output_tokens", "total_tokens")]


def test_an_lm_span_has_its_tokens_and_the_trace_their_sum(trace):
    answers = [
        Answer({"reasoning": "r", "answer": "a"}, usage=Usage(100, 20, cached_tokens=30)),
        Answer({"verdict": "v"}, usage=Usage(7, 3)),
    ]

    class Steps(dspy.Module):
        def __init__(self):
            super().__init__()
            self.first = dspy.ChainOfThought("question -> answer")
            self.second = dspy.Predict("answer -> verdict")

        def forward(self, question):
            return self.second(answer=self.first(question=question).answer)

    with dspy.context(lm=scripted_lm(answers)):
        Steps()(question="q")
    found = trace()
    figures = [span.attributes[USAGE] for span in spans_named(found, "LM.__call__")]
    assert figures == [tokens(100, 20, cached=30), tokens(7, 3)]
    assert [span.name for span in found.data.spans if USAGE in span.attributes] == [
        span.name for span in spans_named(found, "LM.__call__")
    ]
    assert counted(found.info) == [107, 23, 130]


@pytest.mark.parametrize("track_usage", [True, False])
def test_tokens_do_not_depend_on_dspy_s_own_tracker_or_history(track_usage, trace):
    lm = scripted_lm({"answer": "a"})
    with dspy.context(lm=lm, track_usage=track_usage, disable_history=True):
        result = dspy.Predict("question -> answer")(question="q")
        assert dspy.settings.track_usage is track_usage
    assert counted(trace().info) == [10, 5, 15]
    assert bool(result.get_lm_usage()) == track_usage


def test_many_candidates_are_billed_together(trace):
    dspy.Predict("question -> answer", n=3)(question="q", lm=scripted_lm({"answer": "a"}, temperature=1.0))
    assert counted(trace().info)[1] == 15


def test_calls_at_once_on_one_lm_keep_their_figures_apart(trace):
    def answer(messages):
        size = int(messages[-1]["content"].split("## question ## ]]\n")[1].split()[0])
        return Answer({"answer": str(size)}, usage=Usage(size, 1), latency=0.005)

    class Many(dspy.Module):
        def forward(self):
            predict = dspy.Predict("question -> answer")
            pairs = [(predict, {"question": str(size)}) for size in range(1, 17)]
            return dspy.Parallel(num_threads=8, disable_progress_bar=True)(pairs)

    with dspy.context(lm=scripted_lm(answer)):
        Many()()
    found = trace()
    for span in spans_named(found, "LM.__call__"):
        assert f"\n{span.attributes[USAGE]['input_tokens']}\n" in span.outputs[0]
    assert counted(found.info) == [136, 16, 152]


def test_what_dspy_s_cache_answers_is_not_billed(traces):
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    try:
        lm = scripted_lm({"answer": "a"}, cache=True)
        for _ in range(2):
            dspy.Predict("question -> answer")(question="cached?", lm=lm)
        assert len(lm.script.requests) == 1
    finally:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    first, second = sorted(traces(), key=lambda found: found.info.request_time)
    assert counted(first.info) == [10, 5, 15]
    assert not second.info.token_usage
    [span] = spans_named(second, "LM.__call__")
    assert USAGE not in span.attributes
    assert COST not in span.attributes


def test_a_call_that_fails_has_no_figures(trace):
    with pytest.raises(Exception, match="refused"):
        scripted_lm([ConnectionError("refused")])("hi")
    [span] = trace().data.spans
    assert USAGE not in span.attributes


def test_a_call_over_http_has_tokens_and_the_cost_that_dspy_knows(trace):
    """The price table knows this model; the server bills 1,000 tokens in and 100 out."""
    reply = Reply("[[ ## answer ## ]]\na\n\n[[ ## completed ## ]]", usage=Usage(1000, 100))
    with OpenAIServer({"gpt-4o-mini": lambda messages, body: reply}) as server:
        lm = dspy.LM("openai/gpt-4o-mini", api_base=server.base_url, api_key="k", cache=False)
        assert dspy.Predict("question -> answer")(question="q", lm=lm).answer == "a"
    [span] = spans_named(trace(), "LM.__call__")
    assert span.attributes[USAGE]["total_tokens"] == 1100
    known = lm.history[-1]["cost"]
    assert span.attributes[COST] == ({"total_cost": known} if known is not None else {})

"""Tokens and cost are on the spans of LM calls, and add up once for the trace."""

import contextvars
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import dspy
import mlflow
import pytest

from mlflow_dspy_plugin import usage
from tests.fakes.openai_server import OpenAIServer, Reply
from tests.fakes.scripted import HAS_ENGINES, Answer, Usage, scripted_lm
from tests.tracing.trees import spans_named, text_answered

USAGE = "mlflow.chat.tokenUsage"
COST = "mlflow.llm.cost"


def tokens(inputs, outputs, cached=0):
    return {
        "input_tokens": inputs,
        "output_tokens": outputs,
        "total_tokens": inputs + outputs,
        "cache_read_input_tokens": cached,
        "reasoning_tokens": 0,
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
        assert f"\n{span.attributes[USAGE]['input_tokens']}\n" in text_answered(span)
    assert counted(found.info) == [136, 16, 152]


def test_a_call_that_fails_has_no_figures(trace):
    with pytest.raises(Exception, match="refused"):
        scripted_lm([ConnectionError("refused")])("hi")
    [span] = trace().data.spans
    assert USAGE not in span.attributes


def test_64_threads_on_one_lm_keep_their_figures_apart(trace):
    def answer(messages):
        size = int(messages[-1]["content"])
        return Answer(f"size {size}", usage=Usage(size, 1), latency=0.001)

    lm = scripted_lm(answer)
    with mlflow.start_span("all"), ThreadPoolExecutor(64) as pool, dspy.context(disable_history=True):
        contexts = [(contextvars.copy_context(), str(size)) for size in range(1, 129)]
        list(pool.map(lambda each: each[0].run(lm, each[1]), contexts))
    found = trace()
    spans = spans_named(found, "LM.__call__")
    assert len(spans) == 128
    for span in spans:
        size = span.attributes[USAGE]["input_tokens"]
        assert (span.inputs["messages"][0]["content"], text_answered(span)) == (str(size), f"size {size}")
    assert counted(found.info) == [128 * 129 // 2, 128, 128 * 129 // 2 + 128]


def test_a_price_that_nobody_knows_is_no_price(trace):
    scripted_lm("hello")("hi")
    found = trace()
    assert found.data.spans[0].attributes.get(COST) is None
    assert "mlflow.trace.cost" not in found.info.trace_metadata


# -- an LM that calls others ------------------------------------------------------------------


class Asking(dspy.BaseLM):
    """An LM of the user's that gets its answer from others, and tells their tokens as its own."""

    def __init__(self, ask):
        super().__init__("asking/model")
        self.ask = ask

    def forward(self, prompt=None, messages=None, **kwargs):
        text = self.ask(prompt)
        message = SimpleNamespace(content=text, tool_calls=None)
        told = {"prompt_tokens": 999, "completion_tokens": 999, "total_tokens": 1998}
        return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage=told, model="asking")


def ask_twice(prompt):
    lm = scripted_lm("hello")
    return lm(prompt)[0] + lm(prompt)[0]


def ask_a_program(prompt):
    return dspy.Predict("question -> answer")(question=prompt, lm=scripted_lm({"answer": "a"})).answer


def ask_one_that_fails(prompt):
    with pytest.raises(Exception, match="refused"):
        scripted_lm([ConnectionError("refused")])(prompt)
    return "my own answer"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("ask", "figures"),
    [(ask_twice, [20, 10, 30]), (ask_a_program, [10, 5, 15]), (ask_one_that_fails, [999, 999, 1998])],
)
def test_an_lm_that_calls_others_is_billed_for_them_and_not_for_itself(ask, figures, trace):
    Asking(ask)("hi")
    found = trace()
    assert counted(found.info) == figures
    assert usage.totals(found.data.spans)[0]["total_tokens"] == figures[2]
    [outer] = spans_named(found, "Asking.__call__")
    assert (USAGE in outer.attributes) == (figures[0] == 999)


def test_a_call_that_its_provider_s_library_traces_too_is_counted_once(trace):
    """LiteLLM asks through OpenAI's own client, which MLflow traces as well."""
    pytest.importorskip("litellm")
    reply = Reply("hello", usage=Usage(1000, 100))
    engine = {"engine": "litellm"} if HAS_ENGINES else {}
    mlflow.openai.autolog()
    try:
        with OpenAIServer({"gpt-4o-mini": lambda messages, body: reply}) as server:
            dspy.LM("openai/gpt-4o-mini", api_base=server.base_url, api_key="k", cache=False, **engine)("hi")
    finally:
        mlflow.openai.autolog(disable=True)
    found = trace()
    assert len([span for span in found.data.spans if USAGE in span.attributes]) == 2
    assert counted(found.info) == [1000, 100, 1100]
    tokens, cost = usage.totals(found.data.spans)
    assert tokens["total_tokens"] == 1100
    assert cost["total_cost"] == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)


# -- pure -------------------------------------------------------------------------------------


def span_of(span_id, parent_id=None, tokens=None, cost=None):
    figures = {USAGE: tokens and {"input_tokens": tokens}, COST: cost and {"total_cost": cost}}
    return SimpleNamespace(span_id=span_id, parent_id=parent_id, get_attribute=figures.get)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], ({}, {})),
        ([span_of("a")], ({}, {})),
        ([span_of("a"), span_of("b", "a", 3, 0.5), span_of("c", "a", 4)], ({"input_tokens": 7}, {"total_cost": 0.5})),
        # Below a span that has figures, others tell of the same call, however deep; in whatever order they come.
        ([span_of("c", "b", 3), span_of("b", "a"), span_of("a", None, 3)], ({"input_tokens": 3}, {})),
        # Each figure by itself: the span above may know no cost.
        ([span_of("a", None, 3), span_of("b", "a", 3, 0.5)], ({"input_tokens": 3}, {"total_cost": 0.5})),
        # The parent is another process's.
        ([span_of("a", "elsewhere", 3)], ({"input_tokens": 3}, {})),
    ],
)
def test_totals_are_the_sum_over_calls_each_once(spans, expected):
    assert usage.totals(spans) == expected


def test_totals_are_metadata_under_mlflow_s_names():
    assert usage.metadata_of([span_of("a", None, 3, 0.5)]) == {
        "mlflow.trace.tokenUsage": '{"input_tokens": 3}',
        "mlflow.trace.cost": '{"total_cost": 0.5}',
    }
    assert usage.metadata_of([span_of("a")]) == {}


# What a provider's library has told, and what it is by MLflow's names.
TOLD = {
    "nothing": ({}, {}),
    "chat": (
        {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "prompt_tokens_details": None},
        {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
    ),
    "Responses": (
        {
            "input_tokens": 5,
            "output_tokens": 2,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
        {
            "input_tokens": 5,
            "output_tokens": 2,
            "total_tokens": 7,
            "cache_read_input_tokens": 4,
            "reasoning_tokens": 1,
        },
    ),
    "Anthropic by LiteLLM": (
        {"prompt_tokens": 5, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 1},
        {"input_tokens": 5, "total_tokens": 5, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 3},
    ),
    "nonsense": ({"prompt_tokens": float("nan"), "completion_tokens": "many", "total_tokens": True}, {}),
}


@pytest.mark.parametrize("told", TOLD)
def test_tokens_have_mlflow_s_names(told):
    given, expected = TOLD[told]
    assert usage.tokens_of(given) == expected


@pytest.mark.parametrize("cost", [None, float("nan"), "1", True])
def test_a_cost_that_is_no_number_is_none(cost):
    assert usage.cost_of(cost) is None


# Older releases have no list of their own, but LiteLLM's.
HAS_PRICES = (Path(mlflow.__file__).parent / "utils" / "model_catalog").is_dir()
CALLED = {
    usage.MODEL: "openai/gpt-4o-mini",
    usage.PROVIDER: "openai",
    USAGE: {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 400},
}
PRICE = {"input_cost": 600 * 0.15e-6 + 400 * 0.075e-6, "output_cost": 100 * 0.6e-6, "total_cost": 0.00018}


@pytest.mark.parametrize(
    ("attributes", "known"),
    [
        (CALLED, True),
        ({**CALLED, usage.RESPONSE_MODEL: "gpt-4o-mini-2024-07-18"}, True),
        ({**CALLED, usage.RESPONSE_MODEL: "a name of the gateway's"}, True),
        # DSPy's figure is the same: the list tells its parts.
        ({**CALLED, COST: {"total_cost": 0.00018}}, True),
        ({**CALLED, COST: {"total_cost": 0.5}}, False),
        ({**CALLED, usage.MODEL: "openai/no-such-model"}, False),
        ({**CALLED, usage.PROVIDER: "no-such-provider"}, False),
        ({**CALLED, USAGE: None}, False),
        ({}, False),
    ],
)
def test_mlflow_s_list_has_prices_for_what_dspy_has_none(attributes, known):
    expected = pytest.approx(PRICE) if known and HAS_PRICES else None
    assert usage.price(attributes) == expected

"""MLflow's UI in a real browser: what a person sees of the trace of a ReAct program.

The screenshots of the README are taken here: `SCREENSHOTS=docs python -m pytest integration/test_trace_ui.py`.
"""

import json

import mlflow
import pytest
from mlflow.entities import Trace

from integration.browser import Browser
from tests.fakes.openai_server import OpenAIServer, Reply, ToolCalls, Usage
from tests.fakes.script import chat_text


def step(thought: str, tool: str, **arguments: object) -> str:
    """One step of the agent, as the LM answers it."""
    return chat_text({"next_thought": thought, "next_tool_name": tool, "next_tool_args": arguments})


RESULT = {"reasoning": "31 degrees Celsius are 88 degrees Fahrenheit.", "answer": "Sunny, 88 degrees Fahrenheit."}
# In the order in which they are asked for; the agent needs four, and 5,946 tokens.
ANSWERS = [
    Reply(step("I look up the weather in Rome.", "weather", city="Rome"), Usage(1200, 60)),
    Reply(step("It is 31 degrees Celsius. I convert that.", "to_fahrenheit", celsius=31), Usage(1350, 61, 1024)),
    Reply(step("I know all that I need.", "finish"), Usage(1500, 62, 1024)),
    Reply(chat_text(RESULT), Usage(1650, 63, 1024)),
    # What is asked last has tools of its own.
    Reply(ToolCalls([("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})]), Usage(500, 30)),
]
PREDICT = [(0, "Predict.forward"), (1, "ChatAdapter.format"), (1, "LM.__call__"), (1, "ChatAdapter.parse")]
TREE = [
    (0, "ReAct.forward"),
    *((1 + depth, name) for depth, name in PREDICT),
    (1, "Tool.weather"),
    *((1 + depth, name) for depth, name in PREDICT),
    (1, "Tool.to_fahrenheit"),
    *((1 + depth, name) for depth, name in PREDICT),
    (1, "ChainOfThought.forward"),
    *((2 + depth, name) for depth, name in PREDICT),
]
# Where the tree ends and the chosen span begins.
TREE_WIDTH = 320

pytestmark = pytest.mark.skipif(
    not hasattr(mlflow.tracing, "context"), reason="the trace page of this release of MLflow is another one"
)


@pytest.fixture(scope="module")
def traces(run_program, tracking_server) -> list[Trace]:
    """The trace of the agent, and that of the predictor."""
    answers = iter(ANSWERS)
    with OpenAIServer(models={"gpt-4o": lambda messages, body: next(answers)}, latency=0.2) as lm:
        run_program("weather_agent", LM_URL=lm.base_url)
    return tracking_server.traces("Weather")


@pytest.fixture(scope="class")
def agent(browser: Browser, tracking_server, traces: list[Trace]) -> Browser:
    """The page of the agent's trace, over the whole window."""
    return opened_trace(browser, tracking_server, traces[0])


@pytest.fixture(scope="class")
def predictor(browser: Browser, tracking_server, traces: list[Trace]) -> Browser:
    """The page of the predictor's trace, over the whole window."""
    return opened_trace(browser, tracking_server, traces[1])


def opened_trace(browser: Browser, tracking_server, trace: Trace) -> Browser:
    browser.open(f"{page_of(tracking_server, trace)}?selectedEvaluationId={trace.info.trace_id}")
    browser.wait_for(trace.info.trace_id.removeprefix("tr-")[:8], "Inputs / Outputs")
    browser.click("Full screen")
    return browser


def page_of(tracking_server, trace: Trace) -> str:
    """The page of all traces of an experiment."""
    return f"{tracking_server.uri}/#/experiments/{trace.info.experiment_id}/traces"


def dollars(amount: float) -> str:
    """An amount as the page of a span writes it."""
    return f"${amount:.6f}".rstrip("0")


def tree_shown(browser: Browser) -> list[tuple[int, str]]:
    """The spans of the tree from top to bottom, each with its depth, which is how far to the right it stands."""
    names = {name for _, name in TREE}
    rows = sorted((y, x, name) for name in names for x, y in browser.places(name) if x < TREE_WIDTH)
    depths = sorted({x for _, x, _ in rows})
    return [(depths.index(x), name) for _, x, name in rows]


class TestTracePage:
    def test_it_shows_the_tree_of_a_react_program(self, agent, screenshots):
        agent.screenshot(screenshots / "trace-tree.png")
        assert tree_shown(agent) == TREE

    def test_it_shows_what_went_in_and_what_came_out(self, agent):
        agent.click("ReAct.forward")
        agent.wait_for("How warm is Rome, in Fahrenheit?", "Sunny, 31 degrees Celsius", "Sunny, 88 degrees Fahrenheit.")

    def test_it_shows_the_tokens_and_the_cost_of_all_calls(self, agent, traces):
        cost = json.loads(traces[0].info.trace_metadata["mlflow.trace.cost"])["total_cost"]
        assert cost > 0.005
        agent.wait_for(f"5,946 tokens\n${cost:.2f}")

    def test_it_shows_the_messages_of_an_lm_call(self, agent, screenshots):
        agent.click("LM.__call__", 1)
        agent.wait_for("openai/gpt-4o", "1,411 tokens", "System\nYour input fields are:", "User\n", "Assistant\n")
        agent.wait_for("I look up the weather in Rome.", "It is 31 degrees Celsius. I convert that.")
        agent.screenshot(screenshots / "trace-chat.png")

    def test_it_shows_the_cost_of_an_lm_call(self, agent, traces):
        agent.click("LM.__call__", 1)
        call = traces[0].search_spans(name="LM.__call__")[1]
        assert call.get_attribute("mlflow.llm.cost")["total_cost"] > 0.001
        agent.wait_for("1,411 tokens\n" + dollars(call.get_attribute("mlflow.llm.cost")["total_cost"]))

    def test_it_shows_what_a_tool_was_given_and_gave(self, agent):
        agent.click("Tool.to_fahrenheit")
        agent.wait_for("Inputs\nPretty\ncelsius\n31\n", "88 degrees Fahrenheit")


class TestTracePageOfToolCalls:
    def test_it_shows_the_tools_that_a_language_model_calls(self, predictor):
        predictor.click("LM.__call__")
        predictor.wait_for("Tools\n(1)", "Is it warmer in Rome or in Oslo?", "Assistant\nTool calls\n")
        predictor.wait_for("weather\ncity\nRome", "weather\ncity\nOslo")


def test_the_list_of_traces_shows_tokens_and_session(browser, tracking_server, traces):
    browser.open(page_of(tracking_server, traces[0]))
    browser.wait_for("How warm is Rome, in Fahrenheit?", "rome-trip", "5946")

"""Tools of a real MCP server, in a process of its own."""

import asyncio
import contextlib
import sys
from pathlib import Path

import dspy
import pytest

from tests.conftest import empty_store, store, traces  # noqa: F401
from tests.fakes.scripted import scripted_lm
from tests.tracing.conftest import log, trace, tracing  # noqa: F401
from tests.tracing.programs import THOUGHT, steps
from tests.tracing.trees import outline, spans_named

mcp = pytest.importorskip("mcp")
SERVER = Path(__file__).parent / "programs" / "mcp_server.py"


@contextlib.asynccontextmanager
async def tools():
    """The server's tools, as DSPy takes them."""
    from mcp.client.stdio import stdio_client

    command = mcp.StdioServerParameters(command=sys.executable, args=[str(SERVER)])
    async with stdio_client(command) as streams, mcp.ClientSession(*streams) as session:
        await session.initialize()
        listed = await session.list_tools()
        yield [dspy.Tool.from_mcp_tool(session, tool) for tool in listed.tools]


def test_a_tool_of_an_mcp_server_has_its_schema_and_what_it_gave(trace):
    async def main():
        async with tools() as [animal]:
            return await animal.acall(name="bear", legs=2)

    asyncio.run(main())
    found = trace()
    assert outline(found) == "Tool.animal TOOL OK {'name': 'bear', 'legs': 2} -> the bear has 2 legs\n"
    [span] = found.data.spans
    assert span.attributes["description"] == "Describe an animal."
    assert span.attributes["args"]["name"]["type"] == "string"
    assert span.attributes["args"]["legs"] == {"default": 4, "title": "Legs", "type": "integer"}


def test_an_agent_has_the_tools_of_an_mcp_server_below_it_and_their_errors(trace):
    async def main():
        async with tools() as found:
            agent = dspy.ReAct("question -> answer", tools=found)
            return await agent.acall(question="q")

    answers = [*steps(("animal", {"name": "unicorn"})), THOUGHT]
    with dspy.context(lm=scripted_lm(answers)):
        assert asyncio.run(main()).answer == "a"
    found = trace()
    [called] = spans_named(found, "Tool.animal")
    assert called.parent_id == found.data.spans[0].span_id
    assert called.status.status_code == "ERROR"
    assert "Error executing tool animal" in called.events[0].attributes["exception.message"]

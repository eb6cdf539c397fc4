"""An MCP server over its standard input and output, with one tool."""

try:
    from mcp.server.mcpserver import MCPServer
except ImportError:  # before mcp 2
    from mcp.server.fastmcp import FastMCP as MCPServer

server = MCPServer("zoo")


@server.tool()
def animal(name: str, legs: int = 4) -> str:
    """Describe an animal."""
    if name == "unicorn":
        raise LookupError("no such animal")
    return f"the {name} has {legs} legs"


if __name__ == "__main__":
    server.run()

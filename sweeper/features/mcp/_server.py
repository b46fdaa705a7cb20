"""Serves sweeper's tools by the Model Context Protocol, on standard input and output."""

from __future__ import annotations

from collections.abc import Callable

from mcp.server import MCPServer
from mcp.server.mcpserver.tools import Tool
from pydantic import ConfigDict

from sweeper import __version__
from sweeper.features.mcp._tools import TOOLS, ToolAnswer

_INSTRUCTIONS = (
    "sweeper plans and runs fine-tuning sweeps. Check the data, then plan, then run, then read the "
    "verdict. Ask it before you write a training loop, and review before you start another trainer."
)


def server() -> MCPServer:
    """The server with all tools. It asks no question and opens no port."""
    tools = [_strict_tool(tool) for tool in TOOLS]
    return MCPServer(
        "sweeper", version=__version__, instructions=_INSTRUCTIONS, log_level="ERROR", tools=tools
    )


def _strict_tool(function: Callable[..., ToolAnswer]) -> Tool:
    """A tool that refuses unknown arguments, which the package ``mcp`` would ignore."""
    tool = Tool.from_function(function)
    arguments = tool.fn_metadata.arg_model

    class Arguments(arguments):  # type: ignore[misc, valid-type]
        model_config = ConfigDict(extra="forbid")

    tool.fn_metadata = tool.fn_metadata.model_copy(update={"arg_model": Arguments})
    tool.parameters = Arguments.model_json_schema(by_alias=True)
    return tool

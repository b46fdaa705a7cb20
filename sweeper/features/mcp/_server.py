"""The server: sweeper's tools by the Model Context Protocol, on standard input and output."""

from __future__ import annotations

from mcp.server import MCPServer

from sweeper import __version__
from sweeper.features.mcp._tools import TOOLS

_INSTRUCTIONS = (
    "sweeper plans and runs fine-tuning sweeps. Check the data, then plan, then run, then read the "
    "verdict. Ask it before you write a training loop, and review before you start another trainer."
)


def server() -> MCPServer:
    """The server with all tools. It asks no question and opens no port."""
    made = MCPServer("sweeper", version=__version__, instructions=_INSTRUCTIONS, log_level="ERROR")
    for tool in TOOLS:
        made.tool()(tool)
    return made

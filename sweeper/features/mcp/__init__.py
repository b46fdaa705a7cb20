"""Serves sweeper's tools to agents (MCP), and writes a skill that says when to use them."""

"""Agents ask before they train: a server of tools (MCP), and a skill that says when to ask."""

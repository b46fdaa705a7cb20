"""Tools and tool calls in conversations: read from common formats, given to templates, or as text.

``Message.more`` holds them as JSON: an assistant's calls, the name of the tool that answers or, in
the system message, the available tools.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeper.data.examples import Message
from sweeper.textfiles import json_value

# The system prompt of Hermes and Qwen 2.5, whose calls most servers of open models parse:
# https://github.com/NousResearch/Hermes-Function-Calling
_TOOLS = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def calls_of(value: object) -> list[dict[str, object]]:
    """The calls of one turn in OpenAI's format, but with arguments as objects for chat templates.

    Args:
        value: OpenAI's list, one function of its older format, or ShareGPT's JSON text.

    Raises:
        ValueError: The value holds no call.
    """
    parsed: Any = json_value(value) if isinstance(value, str) else value
    calls = []
    for item in parsed if isinstance(parsed, list) else [parsed]:
        call = item.get("function", item) if isinstance(item, Mapping) else None
        if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
            raise ValueError("no name")
        cell = call.get("arguments", call.get("parameters", {}))
        arguments = json_value(cell) if isinstance(cell, str) and cell.strip() else cell or {}
        if not isinstance(arguments, Mapping):
            raise ValueError("arguments are not an object")
        call_id = {"id": item["id"]} if item.get("id") else {}
        function = {"name": call["name"], "arguments": arguments}
        calls.append({**call_id, "type": "function", "function": function})
    return calls


def tools_of(value: object) -> list[dict[str, object]]:
    """The tools of a row in OpenAI's format; none if the cell is empty.

    Raises:
        ValueError: The cell holds no list of objects.
    """
    if value in (None, "", [], "[]"):
        return []
    value = json_value(value) if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise ValueError("no list of objects")
    return [
        dict(tool) if "function" in tool else {"type": "function", "function": dict(tool)}
        for tool in value
    ]


def extras_json(**more: object) -> str:
    """``Message.more`` of a message with these parts; those that are empty are left out."""
    parts = {name: value for name, value in more.items() if value}
    return json.dumps(parts, ensure_ascii=False) if parts else ""


def for_template(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Turns and tools as chat templates take them."""
    rows: list[dict[str, Any]] = []
    tools: list[Any] = []
    for message in messages:
        more = json.loads(message.more) if message.more else {}
        tools += more.pop("tools", [])
        if message.content or message.role != "system":
            rows.append({"role": message.role, "content": message.content, **more})
    return rows, tools


def text_with_calls(message: Message) -> str:
    """The text of a message, with its tools, calls or tool result written out."""
    more = json.loads(message.more) if message.more else {}
    parts = [message.content] if message.content else []
    if tools := more.get("tools"):
        parts.append(_TOOLS.format(tools="\n".join(_json(tool) for tool in tools)))
    for call in more.get("tool_calls", ()):
        parts.append(f"<tool_call>\n{_json(call['function'])}\n</tool_call>")
    if message.role == "tool":
        return f"<tool_response>\n{message.content}\n</tool_response>"
    return "\n\n".join(parts) if "tools" in more else "\n".join(parts)


def as_text(messages: Sequence[Message]) -> list[Message]:
    """The conversation as text alone, for a template that cannot write tools."""
    return [
        replace(
            message,
            role="user" if message.role == "tool" else message.role,
            content=text_with_calls(message),
            more="",
        )
        for message in messages
    ]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


PROBE = (
    Message("system", "", extras_json(tools=tools_of([{"name": "probe_tool", "parameters": {}}]))),
    Message("user", "probe question"),
    Message(
        "assistant",
        "",
        extras_json(
            tool_calls=calls_of(
                {"id": "probe1234", "name": "probe_call", "arguments": {"probe_key": 1}}
            )
        ),
    ),
    Message("tool", "probe result", extras_json(name="probe_call", tool_call_id="probe1234")),
    Message("assistant", "probe answer"),
)
"""A conversation that shows whether a template writes tools, calls and results."""

PROBE_TEXTS = ("probe_tool", "probe_call", "probe_key", "probe result")
"""Texts of ``PROBE`` that a template with tools writes."""

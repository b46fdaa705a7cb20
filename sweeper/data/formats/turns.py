"""Makes messages of turns, and examples of rows with an answer or a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweeper.data.contents import without_surrogates
from sweeper.data.examples import Example, Message, MessageRole, input_key
from sweeper.data.formats.row_format import (
    ColumnNames,
    EmptyRow,
    RawRow,
    UnusableRow,
    is_text,
    parsed_cell,
    required_text,
    text_of,
)
from sweeper.data.tools import calls_of, extras_json, text_with_calls, tools_of

SYSTEM: ColumnNames = {"system": ("system", "system_prompt")}
TOOLS: ColumnNames = {"tools": ("tools", "functions")}
CODE_TESTS: ColumnNames = {"tests": ("test_list", "test", "tests")}

_SPEAKER_KEYS = ("from", "role")
"""Keys of the speaker of a turn: ShareGPT's, then OpenAI's."""

_SPEAKER_NAMES: dict[MessageRole, tuple[str, ...]] = {
    "system": ("system", "developer"),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "chatgpt", "bard", "bing", "model", "function_call"),
    "tool": ("tool", "function", "observation"),
}
_ROLES = {name: role for role, names in _SPEAKER_NAMES.items() for name in names}


def role_of(turn: Mapping[str, object]) -> MessageRole | None:
    """The role of a turn; None for an unknown speaker."""
    return _ROLES.get(_speaker(turn).lower())


def _speaker(turn: Mapping[str, object]) -> str:
    return str(turn.get("role", turn.get("from")))


def is_anything(_: object) -> bool:
    """True: ``RowFormat.example`` checks the value."""
    return True


def is_turns(value: object) -> bool:
    """Whether a value is a conversation."""
    return turns_of(value) is not None


def is_answer(value: object) -> bool:
    """Whether a value is text, several accepted answers, or SQuAD's object of answers."""
    if isinstance(value, dict):
        value = value.get("text")
        return value == [] or is_text(value)
    return is_text(value)


def turns_of(value: object) -> Sequence[Mapping[str, object]] | None:
    """The turns of a conversation, or of its JSON text (as in CSV); None for other values."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = parsed_cell(value)
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(turn, dict) and any(key in turn for key in _SPEAKER_KEYS) for turn in value):
        return value
    return None


def system_message(row: RawRow) -> tuple[Message, ...]:
    """The system prompt of a row, if it has one."""
    system = row.text("system")
    return (Message("system", system),) if system.strip() else ()


def answered_example(row: RawRow, prompt: tuple[Message, ...], role: str) -> Example:
    """The example of a row with an answer; of several accepted answers, the first is trained on.

    If the answer continues the code of the prompt (HumanEval), the prompt's code comes first in it,
    so that it is a complete program.

    Args:
        role: The role of the answer's column.

    Raises:
        EmptyRow: The row has no answer.
        UnusableRow: The answer is not a text.
    """
    references: tuple[str, ...] = ()
    value = row.valid_value(role)
    if row.form.columns[role] == "answers":
        value = parsed_cell(value)
    if isinstance(value, dict):
        value = value["text"]
    if isinstance(value, list):
        references = tuple(without_surrogates(text_of(part)) for part in value)
        answer = references[0] if references else ""
        if not answer.strip():
            raise EmptyRow
    else:
        answer = required_text(value)
    if row.form.columns[role] == "canonical_solution":
        answer = prompt[-1].content + answer
    return Example(
        input_key(*(message.content for message in prompt)),
        row.line,
        messages=(*prompt, Message("assistant", answer)),
        references=references,
        tests=_tests(row),
    )


def with_assertions(example: Example) -> list[Message]:
    """The turns before the answer; the last one also lists the assertions that code must pass."""
    *previous_turns, question = example.messages[:-1]
    assertions = [test for test in example.tests if test.lstrip().startswith("assert")]
    if assertions:
        tests = "\n".join(assertions)
        content = f"{question.content}\n\nYour code should pass these tests:\n\n{tests}"
        question = replace(question, content=content)
    return [*previous_turns, question]


def conversation_example(row: RawRow, turns: Sequence[Mapping[str, object]]) -> Example:
    """The example of a conversation.

    Raises:
        EmptyRow: A turn is empty.
        UnusableRow: A turn, or the order of turns, cannot be trained on.
    """
    try:
        tools = extras_json(tools=tools_of(row.value("tools")))
    except ValueError as error:
        raise UnusableRow(f"`{row.form.columns['tools']}` is not a list of tools") from error
    messages = tuple(
        replace(message, content=without_surrogates(message.content))
        for message in _conversation(turns, row.text("system"), tools)
    )
    if not all(turn.content.strip() or turn.more or turn.role == "tool" for turn in messages):
        raise EmptyRow
    key = input_key(*(part for turn in messages[:-1] for part in (turn.content, turn.more) if part))
    # A tool call as the answer is compared in the text that a model writes.
    references = (text_with_calls(messages[-1]),) if messages[-1].more else ()
    return Example(key, row.line, messages=messages, references=references, tests=_tests(row))


def _tests(row: RawRow) -> tuple[str, ...]:
    """Programs that test an answer: MBPP's list, or HumanEval's function with a call of it."""
    if (value := row.value("tests")) is None:
        return ()
    value = parsed_cell(value)
    value = without_surrogates(value) if isinstance(value, str) else value
    if isinstance(value, list):
        setup = without_surrogates(text_of(row.fields.get("test_setup_code")))
        tests = [without_surrogates(text_of(test)) for test in value]
        return tuple(f"{setup}\n{test}" if setup else test for test in tests)
    if isinstance(value, str) and (entry := row.fields.get("entry_point")):
        return (f"{value}\ncheck({entry})\n",)
    return (value,) if isinstance(value, str) else ()


def _conversation(
    turns: Sequence[Mapping[str, object]], system: str, tools: str
) -> tuple[Message, ...]:
    """Messages of one conversation: an optional system prompt, then user and assistant in turn.

    Results of tools come between an assistant's call and its answer. Turns after the last trained
    answer are left out, as no loss depends on them.

    Args:
        tools: The available tools, as JSON.
    """
    messages = [message for turn in turns if (message := _message(turn)) is not None]
    if (system or tools) and not (messages and messages[0].role == "system"):
        messages.insert(0, Message("system", system))
    if tools:
        messages[0] = replace(messages[0], more=tools)
    has_answer = any(message.role == "assistant" for message in messages)
    while messages and not (messages[-1].role == "assistant" and messages[-1].trained):
        messages.pop()
    if not messages:
        raise UnusableRow("all weights are 0" if has_answer else "no answer in the conversation")
    turns_after_system = messages[1:] if messages[0].role == "system" else messages
    next_roles: tuple[MessageRole, ...] = ("user",)
    for message in turns_after_system:
        if message.role not in next_roles:
            roles = " or ".join(next_roles)
            raise UnusableRow(f"a turn of {message.role} where one of {roles} should come")
        next_roles = _NEXT_ROLES[message.role]
        if message.role == "assistant" and message.more:
            next_roles = ("tool", "user")
    _check_tool_results(turns_after_system)
    return tuple(messages)


def _check_tool_results(turns: Sequence[Message]) -> None:
    """Refuse a call with an id and without a result, unless it ends the conversation."""
    open_calls: set[str] = set()
    for message in turns:
        more = json.loads(message.more) if message.more else {}
        if message.role == "tool":
            open_calls.discard(str(more.get("tool_call_id")))
        elif open_calls:
            raise UnusableRow("a tool call without a result")
        else:
            open_calls = {str(call["id"]) for call in more.get("tool_calls", ()) if "id" in call}


_NEXT_ROLES: dict[MessageRole, tuple[MessageRole, ...]] = {
    "user": ("assistant",),
    "assistant": ("user",),
    "tool": ("assistant", "tool"),
}


def _message(turn: Mapping[str, object]) -> Message | None:
    """The message of a turn; None for an empty system prompt."""
    speaker, role = _speaker(turn), role_of(turn)
    if role is None:
        raise UnusableRow(f"a turn of {speaker!r}, which cannot be trained on")
    text = turn.get("content", turn.get("value"))
    if role == "tool":
        more = extras_json(name=turn.get("name"), tool_call_id=turn.get("tool_call_id"))
        return Message(role, _content(text), more)
    calls = turn.get("tool_calls") or turn.get("function_call")
    if speaker.lower() == "function_call":
        calls, text = text, None
    try:
        more = extras_json(tool_calls=calls_of(calls)) if calls else ""
    except ValueError as error:
        raise UnusableRow("a tool call without a name and arguments in JSON") from error
    content = _content(text)
    if (weight := turn.get("weight")) not in (0, 1, None):
        raise UnusableRow(f"a weight of {weight!r}; it must be 0 or 1")
    if role == "system" and not content.strip():
        return None
    return Message(role, content, more, trained=role != "assistant" or weight != 0)


def _content(value: object) -> str:
    """The text of a turn; the parts of a list become lines."""
    if not isinstance(value, list):
        return text_of(value)
    texts = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and part.get("type", "text") == "text":
            texts.append(text_of(part.get("text")))
        else:
            raise UnusableRow(
                "a part that is not text (an image or sound); sweeper trains language models alone"
            )
    return "\n".join(texts)

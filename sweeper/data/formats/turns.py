"""Shared by formats with an answer: turns to messages, an answer to an example."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweeper.data.encoding import without_surrogates
from sweeper.data.examples import Example, Message, MessageRole, input_key
from sweeper.data.formats.row_format import (
    EmptyRow,
    Names,
    RawRow,
    Unusable,
    is_text,
    parsed,
    required_text,
    text_of,
)
from sweeper.data.tools import calls_of, packed, spelled, tools_of

SYSTEM: Names = {"system": ("system", "system_prompt")}
TOOLS: Names = {"tools": ("tools", "functions")}
TESTS: Names = {"tests": ("test_list", "test", "tests")}

_SPEAKER = ("from", "role")
"""The key that says who speaks in a turn: ShareGPT's, then OpenAI's."""

_ROLES: dict[str, MessageRole] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


def role_of(turn: Mapping[str, object]) -> MessageRole | None:
    """Who speaks in a turn; None for a name that is not one of these roles."""
    return _ROLES.get(_speaker(turn).lower())


def _speaker(turn: Mapping[str, object]) -> str:
    return str(turn.get("role", turn.get("from")))


def is_anything(_: object) -> bool:
    """Whatever it holds, it is read where it makes sense."""
    return True


def is_turns(value: object) -> bool:
    """A conversation."""
    return turns_of(value) is not None


def is_text_or_turns(value: object) -> bool:
    """Text, or a list of turns in place of it."""
    return is_text(value) or is_turns(value)


def is_answer(value: object) -> bool:
    """Text, several accepted answers, or SQuAD's object of them and of where they stand."""
    if isinstance(value, dict):
        value = value.get("text")
        return value == [] or is_text(value)
    return is_text(value)


def is_answer_or_turns(value: object) -> bool:
    """An answer, or a list of turns in place of it."""
    return is_answer(value) or is_turns(value)


def turns_of(value: object) -> Sequence[Mapping[str, object]] | None:
    """The turns of a conversation, also out of a JSON string (as CSV exports write it)."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = parsed(value)
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(turn, dict) and any(key in turn for key in _SPEAKER) for turn in value):
        return value
    return None


def system_message(row: RawRow) -> tuple[Message, ...]:
    """The system prompt of a row, if it has one."""
    system = row.text("system")
    return (Message("system", system),) if system.strip() else ()


def answered(row: RawRow, asked: tuple[Message, ...], role: str) -> Example:
    """An example whose answer is a column; of several accepted answers, the first is trained on.

    Where the answer only goes on with the code that was asked with (HumanEval), both together are
    the answer, so that it is a program of its own.
    """
    references: tuple[str, ...] = ()
    value = row.checked(role)
    if row.columns[role] == "answers":
        value = parsed(value)
    if isinstance(value, dict):
        value = value["text"]
    if isinstance(value, list):
        references = tuple(without_surrogates(text_of(part)) for part in value)
        answer = references[0] if references else ""
        if not answer.strip():
            raise EmptyRow
    else:
        answer = required_text(value)
    if row.columns[role] == "canonical_solution":
        answer = asked[-1].content + answer
    return Example(
        input_key(*(message.content for message in asked)),
        row.line,
        messages=(*asked, Message("assistant", answer)),
        references=references,
        tests=_tests(row),
    )


def with_assertions(example: Example) -> list[Message]:
    """The turns before an answer, the question with the assertions that code must pass."""
    *before, last = example.messages[:-1]
    shown = [test for test in example.tests if test.lstrip().startswith("assert")]
    if shown:
        tests = "\n".join(shown)
        content = f"{last.content}\n\nYour code should pass these tests:\n\n{tests}"
        last = replace(last, content=content)
    return [*before, last]


def conversed(row: RawRow, turns: Sequence[Mapping[str, object]]) -> Example:
    """An example whose question and answer are turns."""
    messages = tuple(
        replace(message, content=without_surrogates(message.content))
        for message in _conversation(turns, row.text("system"), _tools(row))
    )
    if not all(turn.content.strip() or turn.more or turn.role == "tool" for turn in messages):
        raise EmptyRow
    key = input_key(*(part for turn in messages[:-1] for part in (turn.content, turn.more) if part))
    # A call that ends a conversation is compared as a model writes it.
    called = (spelled(messages[-1]),) if messages[-1].more else ()
    return Example(key, row.line, messages=messages, references=called, tests=_tests(row))


def _tools(row: RawRow) -> str:
    """The tools of a row, as its system message keeps them."""
    try:
        return packed(tools=tools_of(row.value("tools")))
    except ValueError as error:
        raise Unusable(f"`{row.columns['tools']}` is not a list of tools") from error


def _tests(row: RawRow) -> tuple[str, ...]:
    """Programs that check an answer: MBPP's list, or HumanEval's one that must be called."""
    if (value := row.value("tests")) is None:
        return ()
    value = parsed(value)
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

    Between an assistant's call and its answer stands what the tools return.

    What follows the last trained answer is cut off: no loss depends on it.
    """
    messages = [message for turn in turns if (message := _message(turn)) is not None]
    if (system or tools) and not (messages and messages[0].role == "system"):
        messages.insert(0, Message("system", system))
    if tools:
        messages[0] = replace(messages[0], more=tools)
    answered = any(message.role == "assistant" for message in messages)
    while messages and not (messages[-1].role == "assistant" and messages[-1].trained):
        messages.pop()
    if not messages:
        raise Unusable("all weights are 0" if answered else "no answer in the conversation")
    spoken = messages[1:] if messages[0].role == "system" else messages
    expected: tuple[MessageRole, ...] = ("user",)
    for message in spoken:
        if message.role not in expected:
            roles = " or ".join(expected)
            raise Unusable(f"a turn of {message.role} where one of {roles} should come")
        expected = _NEXT[message.role]
        if message.role == "assistant" and message.more:
            expected = ("tool", "user")
    _check_results(spoken)
    return tuple(messages)


def _check_results(spoken: Sequence[Message]) -> None:
    """Refuse a call with an id and without a result, unless it ends the conversation."""
    waiting: set[str] = set()
    for message in spoken:
        more = json.loads(message.more) if message.more else {}
        if message.role == "tool":
            waiting.discard(str(more.get("tool_call_id")))
        elif waiting:
            raise Unusable("a tool call without a result")
        else:
            waiting = {str(call["id"]) for call in more.get("tool_calls", ()) if "id" in call}


_NEXT: dict[MessageRole, tuple[MessageRole, ...]] = {
    "user": ("assistant",),
    "assistant": ("user",),
    "tool": ("assistant", "tool"),
}


def _message(turn: Mapping[str, object]) -> Message | None:
    speaker, role = _speaker(turn), role_of(turn)
    if role is None:
        raise Unusable(f"a turn of {speaker!r}, which cannot be trained on")
    text = turn.get("content", turn.get("value"))
    if role == "tool":
        more = packed(name=turn.get("name"), tool_call_id=turn.get("tool_call_id"))
        return Message(role, _content(text), more)
    calls = turn.get("tool_calls") or turn.get("function_call")
    if speaker.lower() == "function_call":
        calls, text = text, None
    try:
        more = packed(tool_calls=calls_of(calls)) if calls else ""
    except ValueError as error:
        raise Unusable("a tool call without a name and arguments in JSON") from error
    content = _content(text)
    if (weight := turn.get("weight")) not in (0, 1, None):
        raise Unusable(f"a weight of {weight!r}; it must be 0 or 1")
    trained = role != "assistant" or weight != 0
    kept = content.strip() or role != "system"
    return Message(role, content, more, trained) if kept else None


def _content(value: object) -> str:
    """The text of a turn, also where it is a list of parts."""
    if not isinstance(value, list):
        return text_of(value)
    texts = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and part.get("type", "text") == "text":
            texts.append(text_of(part.get("text")))
        else:
            raise Unusable(
                "a part that is not text (an image or sound); sweeper trains language models alone"
            )
    return "\n".join(texts)

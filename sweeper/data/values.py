"""What a cell may hold for each role, and its text. Knows values, not columns or formats."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from sweeper.data.column_names import Role

ROLE_KEYS = ("from", "role")
"""The key that says who speaks in a turn: ShareGPT's, then OpenAI's."""

CHAT_MARKERS = (
    "<|im_start|>",
    "<|start_header_id|>",
    "<start_of_turn>",
    "<|user|>",
    "[INST]",
    "### Response:",
    "<|assistant|>",
)
"""Marks that chat templates leave in a text that was templated before."""


def is_text(value: object) -> bool:
    """A string, or a list of strings (paragraphs, or several accepted answers)."""
    if isinstance(value, str):
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)


def is_text_or_turns(value: object) -> bool:
    """Text, or a list of turns in place of it."""
    return is_text(value) or turns_of(value) is not None


def is_class(value: object) -> bool:
    """A value that can name a class: a string, a whole number, or true and false."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, str | int)


def is_turns(value: object) -> bool:
    """A conversation."""
    return turns_of(value) is not None


def is_anything(_: object) -> bool:
    """Whatever it holds, it is read where it makes sense."""
    return True


ACCEPTS: Mapping[Role, Callable[[object], bool]] = {
    "label": is_class,
    "messages": is_turns,
    "prompt": is_text_or_turns,
    "completion": is_text_or_turns,
    "history": is_anything,
    "tests": is_anything,
}
"""Role to the test of its values; text where a role is not listed."""


def accepts(role: Role, value: object) -> bool:
    """Whether a column with this value can play the role."""
    return ACCEPTS.get(role, is_text)(value)


def turns_of(value: object) -> Sequence[Mapping[str, object]] | None:
    """The turns of a conversation, also out of a JSON string (as CSV exports write it)."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(turn, dict) and any(key in turn for key in ROLE_KEYS) for turn in value):
        return value
    return None


def text_of(value: object) -> str:
    """The text of a cell; a list of paragraphs is joined, nothing is an empty text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n\n".join(text_of(part) for part in value)
    return str(value)


def class_name(value: object, names: Sequence[str] = ()) -> str:
    """The name of a class: stripped text, or what the file calls its number.

    >>> class_name(1.0), class_name(True), class_name(1, ["no", "yes"])
    ('1', 'true', 'yes')
    """
    if isinstance(value, bool):
        value = int(value) if names else str(value).lower()
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return text_of(value).strip()


def is_templated(text: str) -> bool:
    """Whether a chat template was applied to this text before."""
    return any(marker in text for marker in CHAT_MARKERS)

"""Conversations in ShareGPT or OpenAI form to messages. Knows turns, not files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweeper.data.examples import Message, MessageRole
from sweeper.data.values import text_of

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
}


class Unusable(ValueError):
    """A row that cannot become an example; its text says why, to be counted."""


def conversation(turns: Sequence[Mapping[str, object]], system: str = "") -> tuple[Message, ...]:
    """Messages of one conversation: an optional system prompt, then user and assistant in turn.

    What follows the last answer is cut off, since nothing answers it.

    Raises:
        Unusable: A turn of another kind (tools, images), or turns that do not alternate.
    """
    messages = [message for turn in turns if (message := _message(turn)) is not None]
    if system and not (messages and messages[0].role == "system"):
        messages.insert(0, Message("system", system))
    while messages and messages[-1].role != "assistant":
        messages.pop()
    if not messages:
        raise Unusable("no answer in the conversation")
    spoken = messages[1:] if messages[0].role == "system" else messages
    expected: MessageRole = "user"
    for message in spoken:
        if message.role != expected:
            raise Unusable(f"a turn of {message.role} where one of {expected} should come")
        expected = "assistant" if expected == "user" else "user"
    return tuple(messages)


def _message(turn: Mapping[str, object]) -> Message | None:
    speaker = str(turn.get("role", turn.get("from")))
    role = _ROLES.get(speaker.lower())
    if role is None:
        raise Unusable(f"a turn of {speaker!r}, which cannot be trained on")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise Unusable("a tool call, which cannot be trained on")
    content = _content(turn.get("content", turn.get("value")))
    return Message(role, content) if content.strip() or role != "system" else None


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
            raise Unusable("a part that is not text (an image or sound)")
    return "\n".join(texts)

"""How a text with a class is asked of a language model that answers with the class's name.

Knows texts and class names only; planning measures the very words that training uses.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.examples import Example, Message

# More classes than this are not listed in every prompt: the list would be longer than the text.
LISTED = 10


def class_question(text: str, labels: Sequence[str]) -> Message:
    """The question about one text.

    >>> class_question("Hi.", ["a", "b"]).content
    'Which class does this text belong to: a, b?\\n\\nHi.'
    """
    listed = f": {', '.join(labels)}" if len(labels) <= LISTED else ""
    return Message("user", f"Which class does this text belong to{listed}?\n\n{text}")


def class_turns(example: Example, labels: Sequence[str]) -> tuple[Message, ...]:
    """The question and the name of the true class."""
    return class_question(example.text, labels), Message("assistant", str(example.label))

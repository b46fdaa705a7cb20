"""General text beside a task: replayed in training, and scored to see what was forgotten.

Plain text is learnt whole; of conversations, what the assistant says.
"""

from __future__ import annotations

from functools import cached_property

from sweeper.data.examples import Example
from sweeper.tasks.sequences.chat import Chat
from sweeper.tasks.sequences.tokens import Encoded, document
from sweeper.tasks.text import TextTask


class General(TextTask):
    """Negative log-likelihood of general text, in nats per token."""

    name = "general text"

    @cached_property
    def chat(self) -> Chat:
        """The chat without the task's system prompt, since general behaviour is measured."""
        return Chat(self.tokenizer)

    def encode_one(self, example: Example) -> Encoded:
        if example.messages:
            return self.chat.encode(list(example.messages))
        return document(self.tokenizer, example.text)

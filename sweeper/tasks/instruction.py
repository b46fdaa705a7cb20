"""Instruction following: learn to answer as the references do, given their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from sweeper.data.examples import Example
from sweeper.errors import DataError
from sweeper.tasks.base import Baseline, Workshop
from sweeper.tasks.chat import Chat
from sweeper.tasks.fewshot import shot_baselines
from sweeper.tasks.markers import answers, family
from sweeper.tasks.text import TextTask
from sweeper.tasks.tokens import Encoded, completed, tokenise


class Instruction(TextTask):
    """Cross-entropy on the assistant's tokens, in the model's own chat template."""

    name = "instruction"

    @cached_property
    def chat(self) -> Chat:
        return Chat(self.tokenizer, self.spec.training.system_prompt)

    def encode_one(self, example: Example) -> Encoded:
        if example.templated:
            return self._templated(example.text)
        return self.chat.encode(example.messages)

    def _templated(self, text: str) -> Encoded:
        """A text that already holds chat markers, masked by them and not templated again."""
        markers = family(text)
        places = answers(text, markers) if markers else ()
        if not places:
            raise DataError(
                "no answer can be found in this text with chat markers",
                fix="Give the data as messages, or as prompt and completion.",
            )
        kept = text[: places[-1][1]]
        return completed(tokenise(self.tokenizer, kept, places), self.tokenizer)

    def baselines(self, workshop: Workshop) -> Sequence[Baseline]:
        return () if self.dataset.templated else shot_baselines(self, self.chat, workshop)

"""Domain adaptation: the task itself, after the base has read a corpus of the domain.

The first stage is a parameter of a trial and lives in
``sweeper.training.base_model.first_stage``; what it reads is made in ``sweeper.tasks.corpus``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.examples import Example
from sweeper.tasks.base import Baseline, BaselineContext, Feature
from sweeper.tasks.fewshot import ZeroShot
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.tokens import Encoded, document, pieces_of


class Domain(Instruction):
    """Questions and answers of the domain; where there are none, its plain text."""

    name = "domain"

    def encode_one(self, example: Example) -> Encoded:
        if _is_plain(example):
            return document(self.tokenizer, example.text)
        return super().encode_one(example)

    @property
    def divides(self) -> bool:
        return any(_is_plain(example) for example in self.dataset.splits["train"][:1])

    def divided(self, examples: Sequence[Example]) -> list[list[Feature]]:
        return [
            self._pieces(example) if _is_plain(example) else self.encode([example])
            for example in examples
        ]

    def _pieces(self, example: Example) -> list[Feature]:
        """The first token of a piece is read and not learnt: nothing stands before it."""
        pieces = pieces_of(self.encode_one(example).ids, self.sequence_length)
        found: list[Feature] = [
            {"input_ids": list(ids), "labels": [-100, *ids[1:]], "answer_bytes": 0}
            for ids in pieces
        ]
        if len(found) > 1:
            found[0]["fates"] = ("divided",)
        return found

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        if any(example.messages for example in self.dataset.splits["train"]):
            return super().baselines(context)
        return (ZeroShot(self, context),)


def _is_plain(example: Example) -> bool:
    return not example.messages and not example.templated

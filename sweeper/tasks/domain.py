"""Domain adaptation: the task itself, after the base has read a corpus of the domain.

The first stage is a parameter of a trial and lives in
``sweeper.training.base_model.first_stage``; what it reads is made in ``sweeper.tasks.corpus``.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.examples import Example
from sweeper.tasks.base import Baseline, BaselineContext
from sweeper.tasks.fewshot import ZeroShot
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.tokens import Encoded, document


class Domain(Instruction):
    """Questions and answers of the domain; where there are none, its plain text."""

    name = "domain"

    def encode_one(self, example: Example) -> Encoded:
        if example.messages or example.templated:
            return super().encode_one(example)
        return document(self.tokenizer, example.text)

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        if any(example.messages for example in self.dataset.splits["train"]):
            return super().baselines(context)
        return (ZeroShot(self, context),)

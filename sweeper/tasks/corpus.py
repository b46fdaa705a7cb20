"""Continued pretraining on plain text: every token is learnt, documents are packed into blocks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sweeper.data.examples import Example
from sweeper.tasks.base import Batch, Feature, LossSum
from sweeper.tasks.sequences.answer_logits import answer_losses
from sweeper.tasks.sequences.packing import collate_packed, pack
from sweeper.tasks.sequences.tokens import Encoded, document
from sweeper.tasks.text import TextTask


class Corpus(TextTask):
    """Trained on as blocks of packed documents, scored as single documents."""

    name = "continued pretraining"

    def encode_one(self, example: Example) -> Encoded:
        return document(self.tokenizer, example.text or example.answer)

    def blocks(self, examples: Sequence[Example]) -> list[Feature]:
        """All documents, packed; nothing of them is left out."""
        documents = [self.encode_one(example).ids for example in examples]
        return pack(documents, self.sequence_length)

    def collate(self, features: Sequence[Feature]) -> Batch:
        if "position_ids" in features[0]:
            return collate_packed(features, self.padding)
        return super().collate(features)

    def tokens(self, batch: Batch) -> int:
        return int(batch["real_tokens"].sum()) if "real_tokens" in batch else super().tokens(batch)

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        if "position_ids" not in batch:
            return super().loss(model, batch)
        inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
        losses = answer_losses(model, inputs, batch["labels"])
        return LossSum(losses.sum(), len(losses))

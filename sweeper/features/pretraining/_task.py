"""Continued pretraining on plain text: every token is learnt, documents are packed into blocks.

Positions start at 0 in each document of a block; given positions and no padding mask,
transformers lets a token attend within its own document only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sweeper.data.examples import Example
from sweeper.tasks.domain import pack_pieces, shared_blocks
from sweeper.tasks.sequences.answer_logits import answer_losses
from sweeper.tasks.sequences.chat import Encoded, document, split_tokens
from sweeper.tasks.task import Batch, Feature, LossSum
from sweeper.tasks.text import TextTask


class Corpus(TextTask):
    """Trains on blocks of packed documents, and scores single documents."""

    name = "continued pretraining"

    def encode_one(self, example: Example) -> Encoded:
        return document(self.tokenizer, example.text or example.answer)

    def blocks(self, examples: Sequence[Example]) -> list[Feature]:
        """All documents in full, packed into blocks."""
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
        return LossSum(answer_losses(model, inputs, batch["labels"]).sum())


def pack(documents: Sequence[Sequence[int]], length: int) -> list[Feature]:
    """Blocks that hold all documents.

    A document that is longer than a block is cut into pieces. Then the longest piece not yet
    placed goes into the fullest block that has room for it (best fit decreasing,
    arXiv:2404.10830).

    Args:
        documents: Token ids, each with its own beginning and end tokens.
        length: Length of a block, in tokens.

    Returns:
        Features with ``input_ids``, ``position_ids`` and ``labels``, each at most ``length`` long.
        A piece's first token is no label, since no token of its document precedes it.
    """
    pieces = [list(piece) for document in documents for piece in split_tokens(document, length)]
    blocks = shared_blocks(list(map(len, pieces)), length)
    return [pack_pieces([pieces[index] for index in block]) for block in blocks]


def collate_packed(features: Sequence[Feature], padding: int) -> Batch:
    """One batch of blocks. Padding has positions of its own, like a document, and no labels."""
    longest = max(len(feature["input_ids"]) for feature in features)
    rows: dict[str, list[list[int]]] = {"input_ids": [], "position_ids": [], "labels": []}
    for feature in features:
        padding_count = longest - len(feature["input_ids"])
        rows["input_ids"].append([*feature["input_ids"], *[padding] * padding_count])
        rows["position_ids"].append([*feature["position_ids"], *range(padding_count)])
        rows["labels"].append([*feature["labels"], *[-100] * padding_count])
    batch = {name: torch.tensor(values) for name, values in rows.items()}
    sizes = [len(feature["input_ids"]) for feature in features]
    return batch | {"real_tokens": torch.tensor(sizes)}

"""The base of tasks that train a model to write text: loss on the answer's tokens only.

How an example becomes a prompt and an answer is the subclass's.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sweeper.data.examples import Example, Message
from sweeper.data.long_rows import long_row
from sweeper.errors import DataError, Problem
from sweeper.metrics.metric import computed
from sweeper.tasks.sequences.answer_logits import (
    CachedPrefix,
    answer_losses,
    answer_rows,
    by_row,
    divergence,
)
from sweeper.tasks.sequences.chat import Chat, Encoded, shorten
from sweeper.tasks.sequences.joined import INPUTS
from sweeper.tasks.task import Batch, Feature, Floats, ItemScores, LossSum, Task, padded
from sweeper.trials import EncodingKind

_BITS_PER_NAT = 1 / math.log(2)


class TextTask(Task):
    """The base of text tasks: negative log-likelihood per token of the reference answer."""

    task_type = "CAUSAL_LM"

    @property
    def per_byte(self) -> bool:
        """Whether losses are bits per UTF-8 byte of the answer, in place of nats per token."""
        return False

    @cached_property
    def chat(self) -> Chat:
        return Chat(self.tokenizer, self.spec.training.system_prompt)

    def turns(self, example: Example) -> list[Message]:
        """Question and answer."""
        return list(example.messages)

    @abstractmethod
    def encode_one(self, example: Example) -> Encoded:
        """All tokens of one example, however many, and which of them are the answer.

        Raises:
            DataError: It cannot be written as this task needs it.
        """

    def encode(self, examples: Sequence[Example]) -> list[Feature]:
        """One feature an example; all that cannot be encoded are named in one error."""
        features: list[Feature] = []
        problems: list[Problem] = []
        for example in examples:
            try:
                encoded = self.encode_one(example)
            except DataError as error:
                where = f"{self.dataset.path}:{example.line}"
                problems += [Problem(p.what, p.why, p.fix, where) for p in error.problems]
                continue
            features.append(self.feature(encoded, example))
        if problems:
            raise DataError(problems)
        return features

    def feature(self, encoded: Encoded, example: Example) -> Feature:
        """The example at most ``sequence_length`` long; without answer if that does not fit."""
        kinds: list[EncodingKind] = ["rewritten"] if encoded.rewritten else []
        answered = not encoded.answers or encoded.answers[-1][0] > 1
        if long_row(self.spec.task, answered=answered) != "shortened":
            whole, encoded = encoded, self._beginning(encoded)
            kinds += ["cut"] if encoded is not whole else []
        short = shorten(encoded, self.sequence_length, self.tokenizer.bos_token_id)
        if short is None:
            left: Feature = {"input_ids": encoded.ids[:1], "labels": [-100], "answer_bytes": 0}
            return {**left, "encoding_kinds": (*kinds, "dropped")}
        kinds += ["shortened"] if len(short.ids) < len(encoded.ids) else []
        size = sum(short.answer_bytes)
        kept: Feature = {"input_ids": short.ids, "labels": short.labels(), "answer_bytes": size}
        return {**kept, "encoding_kinds": tuple(kinds)} if kinds else kept

    def _beginning(self, document: Encoded) -> Encoded:
        """The first tokens of a text that has no prompt in front of it."""
        cap = self.sequence_length
        if len(document.ids) <= cap:
            return document
        kept = document.ids[:cap]
        size = len(self.tokenizer.decode(kept, skip_special_tokens=True).encode())
        start = document.answers[-1][0]
        return replace(document, ids=kept, answers=((start, cap),), answer_bytes=(size,))

    def collate(self, features: Sequence[Feature]) -> Batch:
        """Padded on the right to the longest of these features."""
        labels = padded([feature["labels"] for feature in features], -100)
        sizes = torch.tensor([feature["answer_bytes"] for feature in features])
        return {**self.padded(features), "labels": labels, "answer_bytes": sizes}

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        return LossSum(answer_losses(model, _inputs(batch), batch["labels"]).sum())

    def answer_logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """The model's logits at the answer's tokens: ``(answer tokens, vocabulary)``."""
        return answer_rows(model, _inputs(batch), batch["labels"])[0]

    def loss_near(self, model: nn.Module, batch: Batch, base: Tensor) -> tuple[LossSum, Tensor]:
        """The training loss, and the KL divergence from a base model on the answer's tokens.

        Args:
            base: ``answer_logits`` of the base on the same batch.

        Returns:
            The loss without the divergence; the divergence summed over the same terms, in nats.
        """
        rows, targets = answer_rows(model, _inputs(batch), batch["labels"])
        loss = cross_entropy(rows.float(), targets, reduction="sum")
        return LossSum(loss), divergence(base, rows)

    def score(self, model: nn.Module, batch: Batch) -> ItemScores:
        return self.item_scores(answer_losses(model, _inputs(batch), batch["labels"]), batch)

    def score_after(self, model: nn.Module, shown: CachedPrefix, batch: Batch) -> ItemScores:
        """``score`` of items that go on where an untrained model has read something already."""
        losses = answer_losses(model, shown.before(_inputs(batch)), batch["labels"])
        return self.item_scores(losses, batch)

    def item_scores(self, losses: Tensor, batch: Batch) -> ItemScores:
        """Scores of the items of a batch from the losses of all its answer tokens."""
        means, counts = (part.cpu() for part in by_row(losses, batch["labels"]))
        sizes = batch["answer_bytes"].cpu()
        outputs = {"answer_bytes": sizes}
        if self.per_byte:
            bits = means * counts * _BITS_PER_NAT
            return ItemScores(bits / sizes.clamp(min=1), sizes.to(counts.dtype), outputs)
        return ItemScores(means, counts, outputs)

    def metrics(
        self, scores: ItemScores, examples: Sequence[Example]
    ) -> tuple[dict[str, float], Floats]:
        losses, weights = scores.losses.double().numpy(), scores.weights.double().numpy()
        if self.per_byte:  # a perplexity is of tokens, which do not compare
            return {"bits_per_byte": float(np.average(losses, weights=weights))}, losses
        sizes = scores.outputs["answer_bytes"].numpy()
        figures = computed("tokens", losses, weights) | computed("bytes", losses * weights, sizes)
        return figures, losses


def _inputs(batch: Batch) -> Batch:
    return {name: batch[name] for name in INPUTS if name in batch}

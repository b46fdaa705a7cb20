"""The base of tasks that train a model to write text: loss on the answer's tokens only.

Subclasses decide how an example becomes a prompt and an answer.
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
from sweeper.metrics.metric import compute_metrics
from sweeper.tasks.sequences.answer_logits import (
    CachedPrefix,
    answer_losses,
    divergence,
    logits_and_targets,
    row_means,
)
from sweeper.tasks.sequences.chat import Chat, Encoded, shorten
from sweeper.tasks.sequences.joined import INPUTS
from sweeper.tasks.task import Batch, Feature, Floats, ItemScores, LossSum, Task, padded
from sweeper.trials import EncodingKind

_BITS_PER_NAT = 1 / math.log(2)


class TextTask(Task):
    """The base of text tasks; the loss is the negative log-likelihood of the reference answer."""

    task_type = "CAUSAL_LM"

    @property
    def per_byte(self) -> bool:
        """Whether losses are bits per UTF-8 byte of the answer, in place of nats per token."""
        return False

    @cached_property
    def chat(self) -> Chat:
        """The conversation format of the tokenizer."""
        return Chat(self.tokenizer, self.spec.training.system_prompt)

    def turns(self, example: Example) -> list[Message]:
        """The conversation of an example: question and answer."""
        return list(example.messages)

    @abstractmethod
    def encode_one(self, example: Example) -> Encoded:
        """All tokens of one example, uncut, with the spans of its answers.

        Raises:
            DataError: The example cannot be encoded for this task.
        """

    def encode(self, examples: Sequence[Example]) -> list[Feature]:
        """One feature for each example; one error names all examples that cannot be encoded."""
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
        """The item of an example, with at most ``sequence_length`` tokens.

        A text without a prompt loses its end (``cut``); otherwise the prompt loses its beginning
        (``shortened``). If the last answer alone is too long, the item is one unlabelled token
        (``dropped``). ``rewritten``: the chat template changes the text of an answer.
        """
        kinds: list[EncodingKind] = ["rewritten"] if encoded.rewritten else []
        # Without a prompt, the answer begins at token 0, or at 1 after BOS. An example without
        # answers counts as one with a prompt, since only an answer can be cut.
        has_prompt = not encoded.answers or encoded.answers[-1][0] > 1
        if long_row(self.spec.task, has_prompt=has_prompt) != "shortened":
            uncut, encoded = encoded, self._cut_document(encoded)
            kinds += ["cut"] if encoded is not uncut else []
        shortened = shorten(encoded, self.sequence_length, self.tokenizer.bos_token_id)
        if shortened is None:
            stub: Feature = {"input_ids": encoded.ids[:1], "labels": [-100], "answer_bytes": 0}
            return {**stub, "encoding_kinds": (*kinds, "dropped")}
        kinds += ["shortened"] if len(shortened.ids) < len(encoded.ids) else []
        answer_bytes = sum(shortened.answer_bytes)
        item: Feature = {
            "input_ids": shortened.ids,
            "labels": shortened.labels(),
            "answer_bytes": answer_bytes,
        }
        return {**item, "encoding_kinds": tuple(kinds)} if kinds else item

    def _cut_document(self, document: Encoded) -> Encoded:
        """The first ``sequence_length`` tokens of a text without a prompt."""
        cap = self.sequence_length
        if len(document.ids) <= cap:
            return document
        ids = document.ids[:cap]
        size = len(self.tokenizer.decode(ids, skip_special_tokens=True).encode())
        start = document.answers[-1][0]
        return replace(document, ids=ids, answers=((start, cap),), answer_bytes=(size,))

    def collate(self, features: Sequence[Feature]) -> Batch:
        """One batch, padded on the right to its longest item."""
        labels = padded([feature["labels"] for feature in features], -100)
        sizes = torch.tensor([feature["answer_bytes"] for feature in features])
        return {**self.padded(features), "labels": labels, "answer_bytes": sizes}

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        return LossSum(answer_losses(model, _inputs(batch), batch["labels"]).sum())

    def answer_logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """The model's logits at the answer's tokens: ``(answer tokens, vocabulary)``."""
        return logits_and_targets(model, _inputs(batch), batch["labels"])[0]

    def loss_and_divergence(
        self, model: nn.Module, batch: Batch, base: Tensor
    ) -> tuple[LossSum, Tensor]:
        """The training loss, and the KL divergence from a base model on the answer's tokens.

        Args:
            base: ``answer_logits`` of the base on the same batch.

        Returns:
            The loss without the divergence; the divergence summed over the same terms, in nats.
        """
        logits, targets = logits_and_targets(model, _inputs(batch), batch["labels"])
        loss = cross_entropy(logits.float(), targets, reduction="sum")
        return LossSum(loss), divergence(base, logits)

    def score(self, model: nn.Module, batch: Batch) -> ItemScores:
        return self.item_scores(answer_losses(model, _inputs(batch), batch["labels"]), batch)

    def score_with_prefix(self, model: nn.Module, prefix: CachedPrefix, batch: Batch) -> ItemScores:
        """``score`` of items that continue a prefix whose keys and values are cached."""
        losses = answer_losses(model, prefix.continued_by(_inputs(batch)), batch["labels"])
        return self.item_scores(losses, batch)

    def item_scores(self, losses: Tensor, batch: Batch) -> ItemScores:
        """The scores of a batch's items from the losses of its answer tokens."""
        means, counts = (part.cpu() for part in row_means(losses, batch["labels"]))
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
        if self.per_byte:  # no perplexity: it is per token, so tokenizers must be the same
            return {"bits_per_byte": float(np.average(losses, weights=weights))}, losses
        sizes = scores.outputs["answer_bytes"].numpy()
        figures = compute_metrics("tokens", losses, weights) | compute_metrics(
            "bytes", losses * weights, sizes
        )
        return figures, losses


def _inputs(batch: Batch) -> Batch:
    return {name: batch[name] for name in INPUTS if name in batch}

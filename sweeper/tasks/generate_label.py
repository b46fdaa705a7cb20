"""Classification by saying the class's name: the model of a text task, scored as a classifier.

Trained on the tokens of the name; validated by how likely each class's name is, normalised over
the classes, so that its loss and metrics are those of a classification head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sweeper.data.examples import Example, Message
from sweeper.tasks.base import Baseline, Batch, Feature, Floats, ItemScores, Workshop
from sweeper.tasks.chat import Chat
from sweeper.tasks.class_names import AnswerTree, log_likelihoods
from sweeper.tasks.classification import class_metrics
from sweeper.tasks.fewshot import ZeroShot
from sweeper.tasks.text import TextTask
from sweeper.tasks.tokens import Encoded

# More classes than this are not listed in every prompt: the list would be longer than the text.
_LISTED = 10


class GenerateLabel(TextTask):
    """Single-label classification with the language model's own head."""

    name = "generate_label"
    headline_metric = "accuracy"
    higher_is_better = True

    @cached_property
    def chat(self) -> Chat:
        return Chat(self.tokenizer, self.spec.training.system_prompt)

    @cached_property
    def tree(self) -> AnswerTree:
        """Every class's name as the model would say it, end of turn included."""
        return AnswerTree([self._said(label) for label in self.dataset.labels])

    def _said(self, label: str) -> list[int]:
        encoded = self.chat.encode([Message("user", "?"), Message("assistant", label)])
        return encoded.ids[encoded.answers[-1][0] :]

    def question(self, text: str) -> str:
        """What the model is asked about a text."""
        labels = self.dataset.labels
        listed = f": {', '.join(labels)}" if len(labels) <= _LISTED else ""
        return f"Which class does this text belong to{listed}?\n\n{text}"

    def encode_one(self, example: Example) -> Encoded:
        """The prompt, then the name's tokens: the very ones that validation scores."""
        prompt = self.chat.prompt([Message("user", self.question(example.text))])
        said = self.tree.answers[self.targets([example])[0]]
        span = len(prompt), len(prompt) + len(said)
        return Encoded([*prompt, *said], (span,), answer_bytes=(len(str(example.label).encode()),))

    def targets(self, examples: Sequence[Example]) -> list[int]:
        """Class numbers, in the order of ``dataset.labels``."""
        return [self._number[str(example.label)] for example in examples]

    @cached_property
    def _number(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.dataset.labels)}

    def encode(self, examples: Sequence[Example]) -> list[Feature]:
        features = super().encode(examples)
        for feature, target in zip(features, self.targets(examples), strict=True):
            feature["target"] = target
        return features

    def collate(self, features: Sequence[Feature]) -> Batch:
        targets = torch.tensor([feature["target"] for feature in features])
        return {**super().collate(features), "targets": targets}

    def score(self, model: nn.Module, batch: Batch) -> ItemScores:
        mask = batch["attention_mask"] * batch["labels"].eq(-100)
        logits = log_likelihoods(model, self.tree, batch["input_ids"], mask).float()
        losses = cross_entropy(logits, batch["targets"], reduction="none").cpu()
        return ItemScores(losses, torch.ones_like(losses), {"logits": logits.cpu()})

    def metrics(
        self, scores: ItemScores, examples: Sequence[Example]
    ) -> tuple[dict[str, float], Floats]:
        return class_metrics(scores.outputs["logits"].numpy(), self.targets(examples))

    def baselines(self, workshop: Workshop) -> Sequence[Baseline]:
        return (ZeroShot(self, workshop),)

"""Classification by writing the class's name: a text model, scored as a classifier.

The model is trained on the tokens of the name. For validation, the likelihoods of all names are
normalised over the classes, so that loss and metrics are like those of a classification head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor, nn

from sweeper.data.examples import Example, Message
from sweeper.data.formats.text_label import MAX_LISTED_CLASSES, class_question, class_turns
from sweeper.tasks.classification import ClassDecisions
from sweeper.tasks.fewshot import shot_baselines
from sweeper.tasks.sequences.answer_likelihoods import AnswerTree, log_likelihoods
from sweeper.tasks.sequences.answer_logits import CachedPrefix
from sweeper.tasks.sequences.chat import Encoded
from sweeper.tasks.task import Baseline, BaselineContext, Batch, Feature, ItemScores
from sweeper.tasks.text import TextTask


class GenerateLabel(ClassDecisions, TextTask):
    """Single-label classification with the language model's own head."""

    name = "generate_label"

    @cached_property
    def tree(self) -> AnswerTree:
        """The tokens of every class name with its end of turn."""
        question = Message("user", "?")
        names = [
            self.chat.encode([question, Message("assistant", label)])
            for label in self.dataset.labels
        ]
        return AnswerTree([name.ids[name.answers[-1][0] :] for name in names])

    def encode_one(self, example: Example) -> Encoded:
        """The prompt and the class name, with the same tokens that validation scores."""
        prompt = self.chat.prompt([class_question(example.text, self.dataset.labels)])
        name = self.tree.answers[self.targets([example])[0]]
        span = len(prompt), len(prompt) + len(name)
        return Encoded([*prompt, *name], (span,), answer_bytes=(len(str(example.label).encode()),))

    def turns(self, example: Example) -> list[Message]:
        return list(class_turns(example, self.dataset.labels))

    def feature(self, encoded: Encoded, example: Example) -> Feature:
        return {**super().feature(encoded, example), "target": self.targets([example])[0]}

    def collate(self, features: Sequence[Feature]) -> Batch:
        targets = torch.tensor([feature["target"] for feature in features])
        return {**super().collate(features), "targets": targets}

    def score(self, model: nn.Module, batch: Batch) -> ItemScores:
        return self._scores(log_likelihoods(model, self.tree, *_prompts(batch)), batch)

    def score_with_prefix(self, model: nn.Module, prefix: CachedPrefix, batch: Batch) -> ItemScores:
        return self._scores(log_likelihoods(model, self.tree, *_prompts(batch), prefix), batch)

    def _scores(self, likelihoods: Tensor, batch: Batch) -> ItemScores:
        """The scores of a batch; weight 0 for an item whose class name exceeds the length limit."""
        scores = self.class_scores(likelihoods, batch["targets"])
        fits = batch["labels"].ne(-100).any(1).to(scores.losses)
        return replace(scores, losses=scores.losses * fits, weights=fits)

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        """The untrained model zero-shot and, if the context has room, with one example of each
        class (of ten classes, if there are more)."""
        first_examples: dict[str, Example] = {}
        for example in self.dataset.splits["train"]:
            first_examples.setdefault(str(example.label), example)
        return shot_baselines(self, context, tuple(first_examples.values())[:MAX_LISTED_CLASSES])


def _prompts(batch: Batch) -> tuple[Tensor, Tensor]:
    """Ids and mask of the tokens before the answers, each ``(batch, tokens)``."""
    return batch["input_ids"], batch["attention_mask"] * batch["labels"].eq(-100)

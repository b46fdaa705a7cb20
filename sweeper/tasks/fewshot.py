"""The untrained model as a baseline: zero-shot, and few-shot with examples in the prompt.

Both baselines are scored on the same answer tokens as trained models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from sweeper.data.examples import Example, Message
from sweeper.facts.record import Split
from sweeper.tasks.sequences.answer_logits import CachedPrefix, cacheable
from sweeper.tasks.sequences.chat import Encoded
from sweeper.tasks.task import (
    Baseline,
    BaselineContext,
    Evaluation,
    ItemScores,
    Task,
    in_item_order,
)
from sweeper.tasks.text import TextTask

# Examples in the prompt: as usual for small models on MBPP; more would not fit short contexts.
SHOTS = 3
# Items of a batch that few-shot scores.
_BATCH_SIZE = 8
# The shots are chosen among this many train examples.
_SHOT_CANDIDATES = 32


@dataclass
class ZeroShot:
    """The untrained model, with the same prompts as trained models."""

    task: Task
    context: BaselineContext
    name = "zero_shot"
    title = "Untrained model"
    note = ""
    prompt = None  # the task's

    def evaluate(self, split: Split) -> Evaluation:
        return self.context.measure(self.task.assemble(self.context.base(), {}), split)


@dataclass
class FewShot:
    """The untrained model with train examples before every question.

    The model reads these examples once for all items, so few-shot costs little more than zero-shot.
    """

    task: TextTask
    shots: tuple[Example, ...]
    context: BaselineContext
    name = "few_shot"
    note = ""

    @property
    def title(self) -> str:
        return f"Untrained model, {len(self.shots)} examples in the prompt"

    def evaluate(self, split: Split) -> Evaluation:
        model = self.context.base().eval()
        device = next(model.parameters()).device
        shots, shot_ids = _shot_turns(self.task, self.shots)
        examples = self.context.dataset.splits[split]
        features = [
            self.task.feature(self._encoded_after_shots(shot_ids, shots, item), item)
            for item in examples
        ]
        order = sorted(range(len(examples)), key=lambda i: -len(features[i]["input_ids"]))
        scores: list[ItemScores] = []
        with self.context.computing(), torch.no_grad():
            prefix = CachedPrefix(model, shot_ids)
            for start in range(0, len(order), _BATCH_SIZE):
                self.context.on_progress(f"scoring {split}", start, len(order))
                batch = self.task.collate([features[i] for i in order[start : start + _BATCH_SIZE]])
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                scores.append(self.task.score_with_prefix(model, prefix, batch))
        return self.task.evaluation(in_item_order(scores, order), examples)

    def prompt(self, example: Example) -> list[int]:
        """The tokens of the shots and of an item's question; a question that is too long is cut
        on the left."""
        shots, shot_ids = _shot_turns(self.task, self.shots)
        ids, length = self.task.chat.prompt([*shots, *self.task.turns(example)[:-1]]), len(shot_ids)
        return ids[:length] + ids[length:][-self.task.sequence_length :]

    def _encoded_after_shots(
        self, shot_ids: list[int], shots: list[Message], item: Example
    ) -> Encoded:
        """The tokens of an item after the shots, or alone if the template rewrites the shots."""
        encoded = self.task.chat.encode([*shots, *self.task.turns(item)])
        length = len(shot_ids)
        if encoded.ids[:length] != shot_ids:
            return self.task.chat.encode(self.task.turns(item))
        numbers = [number for number, (start, _) in enumerate(encoded.answers) if start >= length]
        return replace(
            encoded,
            ids=encoded.ids[length:],
            answers=tuple(
                (a - length, b - length) for a, b in (encoded.answers[i] for i in numbers)
            ),
            answer_bytes=tuple(encoded.answer_bytes[i] for i in numbers),
        )


def shot_baselines(
    task: TextTask, context: BaselineContext, shots: tuple[Example, ...] | None = None
) -> Sequence[Baseline]:
    """The untrained model zero-shot and, if there is room, few-shot.

    Args:
        shots: Examples for the prompt; if None, ``SHOTS`` short ones of the train split.
    """
    zero_shot = ZeroShot(task, context)
    min_shots = 1 if shots is not None else SHOTS
    shots = _chosen_shots(task, context.dataset.splits["train"]) if shots is None else shots
    free_tokens = task.facts.context_length - task.sequence_length
    if len(shots) < min_shots or not cacheable(context.base()):
        return (zero_shot,)
    has_room = len(_shot_turns(task, shots)[1]) <= free_tokens
    return (zero_shot, FewShot(task, shots, context)) if has_room else (zero_shot,)


def _shot_turns(task: TextTask, shots: Sequence[Example]) -> tuple[list[Message], list[int]]:
    """The conversation of the shots, and its tokens."""
    turns = [turn for shot in shots for turn in task.turns(shot)]
    return turns, task.chat.encode(turns).ids


def _chosen_shots(task: TextTask, train: Sequence[Example]) -> tuple[Example, ...]:
    """The first ``SHOTS`` candidates whose length is at most the median of the candidates."""
    candidates = [example for example in train[:_SHOT_CANDIDATES] if example.messages]
    lengths = [len(task.chat.encode(task.turns(example)).ids) for example in candidates]
    median = sorted(lengths)[len(lengths) // 2] if lengths else 0
    short_examples = [e for e, length in zip(candidates, lengths, strict=True) if length <= median]
    return tuple(short_examples[:SHOTS])

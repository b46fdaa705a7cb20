"""The untrained model as a baseline: zero-shot, and few-shot with examples in the prompt.

Both baselines score the very answer tokens that trained models are scored on.
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

# Few enough to leave room in short contexts; the usual number for small models on MBPP, too.
SHOTS = 3
_BATCH = 8
# Examples among which the shots are looked for.
_LOOKED_AT = 32


@dataclass
class ZeroShot:
    """The untrained model, with the same prompts as trained models."""

    task: Task
    context: BaselineContext
    name = "zero_shot"
    title = "Untrained model"
    note = ""
    prompt = None

    def evaluate(self, split: Split) -> Evaluation:
        return self.context.measure(self.task.assemble(self.context.base(), {}), split)


@dataclass
class FewShot:
    """The untrained model with train examples in front of every question.

    What the items share is read once, so that this costs hardly more than asking at once.
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
        shots = [turn for shot in self.shots for turn in self.task.turns(shot)]
        shown = self.task.chat.encode(shots).ids
        examples = self.context.dataset.splits[split]
        features = [self.task.feature(self._item(shown, shots, item), item) for item in examples]
        order = sorted(range(len(examples)), key=lambda i: -len(features[i]["input_ids"]))
        scores: list[ItemScores] = []
        with self.context.computing(), torch.no_grad():
            prefix = CachedPrefix(model, shown)
            for start in range(0, len(order), _BATCH):
                self.context.underway(f"scoring {split}", start, len(order))
                batch = self.task.collate([features[i] for i in order[start : start + _BATCH]])
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                scores.append(self.task.score_after(model, prefix, batch))
        return self.task.evaluation(in_item_order(scores, order), examples)

    def prompt(self, example: Example) -> list[int]:
        """The examples and an item's question as tokens; the question is cut on the left if it is
        too long."""
        shots = [turn for shot in self.shots for turn in self.task.turns(shot)]
        whole = self.task.chat.prompt([*shots, *self.task.turns(example)[:-1]])
        keep = len(self.task.chat.encode(shots).ids)
        return whole[:keep] + whole[keep:][-self.task.sequence_length :]

    def _item(self, shown: list[int], shots: list[Message], item: Example) -> Encoded:
        """One item's own tokens: what follows the examples in the whole conversation."""
        whole = self.task.chat.encode([*shots, *self.task.turns(item)])
        cut = len(shown)
        if whole.ids[:cut] != shown:
            return self.task.chat.encode(self.task.turns(item))
        own = [number for number, (start, _) in enumerate(whole.answers) if start >= cut]
        return replace(
            whole,
            ids=whole.ids[cut:],
            answers=tuple((a - cut, b - cut) for a, b in (whole.answers[i] for i in own)),
            answer_bytes=tuple(whole.answer_bytes[i] for i in own),
        )


def shot_baselines(
    task: TextTask, context: BaselineContext, shots: tuple[Example, ...] | None = None
) -> Sequence[Baseline]:
    """The untrained model zero-shot and, if there is room, few-shot.

    Args:
        shots: The examples to show; a few short ones of the train split if None.
    """
    zero = ZeroShot(task, context)
    least = 1 if shots is not None else SHOTS
    shots = _choose(task, context.dataset.splits["train"]) if shots is None else shots
    room = task.facts.context_length - task.sequence_length
    if len(shots) < least or not cacheable(context.base()):
        return (zero,)
    if len(task.chat.encode([turn for shot in shots for turn in task.turns(shot)]).ids) > room:
        return (zero,)
    return (zero, FewShot(task, shots, context))


def _choose(task: TextTask, train: Sequence[Example]) -> tuple[Example, ...]:
    """The first examples that are not longer than most of their neighbours."""
    first = [example for example in train[:_LOOKED_AT] if example.messages]
    lengths = [len(task.chat.encode(task.turns(example)).ids) for example in first]
    median = sorted(lengths)[len(lengths) // 2] if lengths else 0
    short = [e for e, length in zip(first, lengths, strict=True) if length <= median]
    return tuple(short[:SHOTS])

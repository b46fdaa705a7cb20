"""The interface of a task: from examples to tokens, to a loss, and to metrics.

A task knows the data, the tokenizer and the shape of a model's output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import sweeper.tasks as folder
from sweeper.backend import Underway
from sweeper.data.examples import Dataset, Example
from sweeper.facts.record import ModelFacts, Split
from sweeper.plugins import find
from sweeper.spec import Scalar, Spec
from sweeper.trials import EncodingKind, EncodingNote

ENTRY_POINTS = "sweeper.tasks"
TaskType = Literal["CAUSAL_LM", "FEATURE_EXTRACTION"]
Feature = dict[str, Any]
"""One tokenised item: at least ``input_ids`` (list of int); whatever else ``collate`` needs; and
``encoding_kinds`` (kinds of ``EncodingNote``) where the example is not all there."""
ENCODING_KINDS: tuple[EncodingKind, ...] = get_args(EncodingKind)
Batch = dict[str, Tensor]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossSum:
    """A training loss as a sum over terms (items or output tokens, see ``Task.weight``), so that
    unequal micro-batches of one optimizer step add up exactly.

    Args:
        total: Scalar with gradient, in nats.
        unweighted: The same sum with every class counting alike, as validation has it; None where
            ``total`` is that.
    """

    total: Tensor
    unweighted: Tensor | None = None


@dataclass(frozen=True)
class ItemScores:
    """The scores of one batch of validation, item by item. All tensors on the CPU.

    Args:
        losses: ``(items,)`` nats: the mean over the item's own ``weights``.
        weights: ``(items,)`` terms in each mean: 1 for a class decision, answer tokens for text; 0
            for an item that could not be scored, since its answer exceeds the length limit.
        outputs: Whatever ``metrics`` needs, each ``(items, ...)``; e.g. ``probabilities``.
    """

    losses: Tensor
    weights: Tensor
    outputs: Mapping[str, Tensor] = field(default_factory=dict)

    def only(self, kept: Tensor) -> ItemScores:
        """The scores of some items, by a mask ``(items,)``."""
        outputs = {name: values[kept] for name, values in self.outputs.items()}
        return ItemScores(self.losses[kept], self.weights[kept], outputs)


def in_item_order(parts: Sequence[ItemScores], positions: Sequence[int]) -> ItemScores:
    """Batches that hold the items of a split in another order, joined in item order.

    Args:
        parts: One for each batch.
        positions: Where each of their items stands in the split, batch after batch.
    """
    back, names = torch.tensor(positions).argsort(), parts[0].outputs
    return ItemScores(
        torch.cat([part.losses for part in parts])[back],
        torch.cat([part.weights for part in parts])[back],
        {name: torch.cat([part.outputs[name] for part in parts])[back] for name in names},
    )


def padded(rows: Iterable[Sequence[int]], value: int) -> Tensor:
    """``(rows, longest)``, filled up on the right."""
    return pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=value)


@dataclass(frozen=True)
class Decisions:
    """Numbers of the right classes and of the likeliest ones, with the probabilities of these.

    All of shape ``(items,)``.
    """

    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: Floats

    @classmethod
    def of(cls, scores: Any, targets: Sequence[int]) -> Decisions:
        """From ``(items, classes)`` logits or log-probabilities, and class numbers ``(items,)``."""
        probabilities = softmax(np.asarray(scores, dtype=np.float64), axis=1)
        return cls(np.asarray(targets), probabilities.argmax(1), probabilities.max(1))

    def only(self, kept: NDArray[np.bool_]) -> Decisions:
        """The decisions on some items, by a mask ``(items,)``."""
        return Decisions(self.true[kept], self.predicted[kept], self.confidence[kept])

    @property
    def confusion(self) -> tuple[tuple[int, int, int], ...]:
        """(true class, predicted class, items) of every pair that occurred, in this order."""
        pairs = Counter(zip(self.true.tolist(), self.predicted.tolist(), strict=True))
        return tuple((true, predicted, pairs[true, predicted]) for true, predicted in sorted(pairs))


@dataclass(frozen=True)
class Evaluation:
    """A model on the items of one split, in item order.

    Args:
        losses: ``(items,)`` nats per term.
        weights: ``(items,)``; ``loss`` is the mean of ``losses`` with these weights. An item with
            weight 0 was not scored.
        scores: ``(items,)`` the headline score of each item: 1 or 0 for accuracy; the loss for
            text.
        metrics: Over all scored items.
        decisions: The class decisions; None where nothing is classified.
    """

    losses: Floats
    weights: Floats
    scores: Floats
    metrics: dict[str, float]
    decisions: Decisions | None = None

    @property
    def scored(self) -> NDArray[np.bool_]:
        """``(items,)`` which items were scored."""
        return self.weights > 0

    def of_scored(self, examples: Sequence[Example]) -> Sequence[Example]:
        """The examples of the scored items, from those of all items."""
        if self.scored.all():
            return examples
        return [examples[item] for item in np.flatnonzero(self.scored).tolist()]

    def placed(self, values: Floats) -> Floats:
        """``(items,)`` with one value for each scored item, and 0 for the others."""
        every = np.zeros(len(self.weights))
        every[self.scored] = values
        return every

    @property
    def loss(self) -> float:
        """The validation loss: nats per class decision or per token of the reference answer."""
        return float(np.average(self.losses, weights=self.weights))


class Baseline(Protocol):
    """A baseline: a cheap model to beat. ``evaluate`` may be called for any split."""

    name: str

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def note(self) -> str:
        """A note for the report; may be set only after ``evaluate``."""

    def evaluate(self, split: Split) -> Evaluation: ...


class BaselineContext(Protocol):
    """The model and data that a task may use to build its baselines."""

    dataset: Dataset
    underway: Underway

    def base(self) -> nn.Module:
        """The untrained base model, frozen, in evaluation mode."""

    def measure(self, model: nn.Module, split: Split) -> Evaluation:
        """Score a model that was assembled for this task on a split."""

    def computing(self) -> AbstractContextManager[None]:
        """A context with the precision in which ``measure`` computes."""


class Task(ABC):
    """One task over one data set with one tokenizer.

    A subclass in ``tasks/<name>.py`` with ``name = "<name>"`` is found by itself.

    Args:
        facts: Facts of the base model (kind, pooling, context length).
        sequence_length: Cap in tokens, the same in every trial.
    """

    name: ClassVar[str]
    task_type: ClassVar[TaskType]

    def __init__(
        self, dataset: Dataset, tokenizer: Any, facts: ModelFacts, spec: Spec, sequence_length: int
    ) -> None:
        self.dataset = dataset
        self.tokenizer = tokenizer
        self.facts = facts
        self.spec = spec
        self.sequence_length = sequence_length

    @cached_property
    def padding(self) -> int:
        """The token that fills up shorter items."""
        ids = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((token for token in ids if token is not None), 0)

    def padded(self, features: Sequence[Feature]) -> Batch:
        """``input_ids`` and ``attention_mask``, as long as the longest of these features."""
        rows = [feature["input_ids"] for feature in features]
        mask = padded([[1] * len(row) for row in rows], 0)
        return {"input_ids": padded(rows, self.padding), "attention_mask": mask}

    @abstractmethod
    def encode(self, examples: Sequence[Example]) -> list[Feature]:
        """Tokenise examples, one feature each, in order. Never longer than ``sequence_length``."""

    @property
    def divides(self) -> bool:
        """Whether a train example that is longer than ``sequence_length`` becomes several items."""
        return False

    def divided(self, examples: Sequence[Example]) -> list[list[Feature]]:
        """The items of each example, which hold all of it where ``divides``."""
        return [[feature] for feature in self.encode(examples)]

    @abstractmethod
    def collate(self, features: Sequence[Feature]) -> Batch:
        """One padded batch. Holds what the model takes (``input_ids``, ``attention_mask``, ...)
        and ``labels``."""

    def assemble(self, adapted: nn.Module, parameters: Mapping[str, Scalar]) -> nn.Module:
        """The whole model from the adapted base: with a head where the task needs one.

        Names of a new head's weights begin with ``head.``.
        """
        return adapted

    def for_training(self, parameters: Mapping[str, Scalar]) -> Task:
        """The task with a training loss as a trial's parameters say; ``score`` is always the same.

        Raises:
            UsageError: The parameters ask for a loss that this task does not have.
        """
        return self

    def training_weights(self, examples: Sequence[Example]) -> Floats | None:
        """``(items,)`` the weight of each item in the training loss; None if all count alike.

        A trial's best weights are chosen with it, since they are to be the best at what was trained
        for. No loss that is shown has it.
        """
        return None

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """The training loss of one micro-batch. ``model`` is what ``assemble`` gave."""

    def weight(self, batch: Batch) -> int:
        """The number of terms in the training loss of this batch."""
        return int(batch["labels"].ne(-100).sum())

    def tokens(self, batch: Batch) -> int:
        """How many real tokens (no padding) the model reads in this batch."""
        return int(batch["attention_mask"].sum())

    @abstractmethod
    def score(self, model: nn.Module, batch: Batch) -> ItemScores:
        """Validation losses and outputs, item by item, without gradient: the very loss that all
        strategies are compared by, with no class weights, smoothing or penalty in it."""

    @abstractmethod
    def metrics(
        self, scores: ItemScores, examples: Sequence[Example]
    ) -> tuple[dict[str, float], Floats]:
        """Metrics over the scored items of a split (or of its first ones), and the headline score
        of each of these items.

        Scores of all batches and examples are in item order.
        """

    def evaluation(self, scored: ItemScores, examples: Sequence[Example]) -> Evaluation:
        """The evaluation of a split, from the scores of its items in item order."""
        losses, weights = scored.losses.double().numpy(), scored.weights.double().numpy()
        blank = Evaluation(losses, weights, losses, {}, self.decisions(scored, examples))
        kept = scored.only(scored.weights > 0)
        metrics, scores = self.metrics(kept, blank.of_scored(examples))
        return replace(blank, scores=blank.placed(scores), metrics=metrics)

    def decisions(self, scores: ItemScores, examples: Sequence[Example]) -> Decisions | None:
        """Which class each item was taken for; None where the task has no classes."""
        return None

    def notes(self, features: Sequence[Feature], split: Split) -> tuple[EncodingNote, ...]:
        """What became of the examples of a split on their way into these features, where a
        reader must know it."""
        counts = Counter(note for feature in features for note in feature.get("encoding_kinds", ()))
        return tuple(
            EncodingNote(
                split=split,
                kind=kind,
                count=counts[kind],
                of=len(features),
                tokens=self.sequence_length,
            )
            for kind in ENCODING_KINDS
            if counts[kind]
        )

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        """Baselines of this task alone, such as a language model zero-shot."""
        return ()


def task(name: str) -> type[Task]:
    """The task with that name, of this folder or of another package's entry points.

    Raises:
        UsageError: There is none; the nearest name is given.
    """
    return find(folder, Task, ENTRY_POINTS, name)


def task_of(spec: Spec) -> type[Task]:
    """The task that a spec asks for, in the form that it asks for.

    Raises:
        UsageError: There is none of that name.
    """
    by_name = spec.task == "classification" and spec.training.classes_by == "generate"
    return task("generate_label" if by_name else spec.task)

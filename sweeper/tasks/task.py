"""The interface of a task: from examples to tokens, to a loss, and to metrics.

A task holds the data and the tokenizer, and reads the model's output.
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
from sweeper.backend import ProgressReporter
from sweeper.data.examples import Dataset, Example
from sweeper.facts.record import ModelFacts, Split
from sweeper.packages import find
from sweeper.spec import Scalar, Spec
from sweeper.trials import EncodingKind, EncodingNote

# Group of the entry points by which other packages add tasks.
ENTRY_POINTS = "sweeper.tasks"
TaskType = Literal["CAUSAL_LM", "FEATURE_EXTRACTION"]
Feature = dict[str, Any]
"""One tokenised item: at least ``input_ids`` (list of int); whatever else ``collate`` needs; and
``encoding_kinds`` (see ``EncodingNote``) if the example was changed."""
ENCODING_KINDS: tuple[EncodingKind, ...] = get_args(EncodingKind)
"""All ways in which encoding changes an example, such as ``cut``."""
Batch = dict[str, Tensor]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossSum:
    """A training loss, summed over the ``Task.loss_terms`` of a micro-batch, so that unequal
    micro-batches of one optimizer step add up exactly.

    Args:
        total: Scalar with gradient, in nats.
        unweighted: The sum with equal class weights, as in validation; None if ``total`` has no
            class weights.
    """

    total: Tensor
    unweighted: Tensor | None = None


@dataclass(frozen=True)
class ItemScores:
    """The scores of the items of one validation batch. All tensors on the CPU.

    Args:
        losses: ``(items,)`` mean loss per term: nats, or bits if terms are bytes.
        weights: ``(items,)`` terms in each mean: 1 for a class decision, answer tokens or bytes for
            text; 0 for an item that was not scored, as its answer exceeds the length limit.
        outputs: Whatever ``metrics`` needs, each ``(items, ...)``; e.g. ``logits``.
    """

    losses: Tensor
    weights: Tensor
    outputs: Mapping[str, Tensor] = field(default_factory=dict)

    def select(self, mask: Tensor) -> ItemScores:
        """The scores of the items whose ``mask`` ``(items,)`` is true."""
        outputs = {name: values[mask] for name, values in self.outputs.items()}
        return ItemScores(self.losses[mask], self.weights[mask], outputs)


def in_item_order(parts: Sequence[ItemScores], positions: Sequence[int]) -> ItemScores:
    """The scores of all batches of a split as one, in item order.

    Args:
        parts: The scores of each batch.
        positions: The index of each item in the split, batch after batch.
    """
    order, names = torch.tensor(positions).argsort(), parts[0].outputs
    return ItemScores(
        torch.cat([part.losses for part in parts])[order],
        torch.cat([part.weights for part in parts])[order],
        {name: torch.cat([part.outputs[name] for part in parts])[order] for name in names},
    )


def padded(rows: Iterable[Sequence[int]], value: int, side: str = "right") -> Tensor:
    """``(rows, longest)``, padded on one side with ``value``."""
    tensors = list(map(torch.tensor, rows))
    return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)


@dataclass(frozen=True)
class Decisions:
    """The true and the predicted class of each item, and the prediction's probability.

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

    def select(self, mask: NDArray[np.bool_]) -> Decisions:
        """The decisions on the items whose ``mask`` ``(items,)`` is true."""
        return Decisions(self.true[mask], self.predicted[mask], self.confidence[mask])

    @property
    def confusion(self) -> tuple[tuple[int, int, int], ...]:
        """(true class, predicted class, items) for every pair of classes that occurred, sorted."""
        pairs = Counter(zip(self.true.tolist(), self.predicted.tolist(), strict=True))
        return tuple((true, predicted, pairs[true, predicted]) for true, predicted in sorted(pairs))


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on the items of one split, in item order.

    Args:
        losses: ``(items,)`` nats per class decision or token, or bits per byte.
        weights: ``(items,)``; ``loss`` is the mean of ``losses`` with these weights. An item with
            weight 0 was not scored.
        scores: ``(items,)`` the main score of each item: 1 or 0 for accuracy; the loss for
            text.
        metrics: Values over all scored items, by name.
        decisions: The class decisions; None if the task has no classes.
    """

    losses: Floats
    weights: Floats
    scores: Floats
    metrics: dict[str, float]
    decisions: Decisions | None = None

    @property
    def scored(self) -> NDArray[np.bool_]:
        """``(items,)`` whether each item was scored."""
        return self.weights > 0

    def scored_examples(self, examples: Sequence[Example]) -> Sequence[Example]:
        """The examples of the scored items. ``examples`` are those of all items."""
        if self.scored.all():
            return examples
        return [examples[item] for item in np.flatnonzero(self.scored).tolist()]

    def on_all_items(self, values: Floats) -> Floats:
        """``(items,)``: the ``values`` of the scored items, and 0 for the others."""
        item_values = np.zeros(len(self.weights))
        item_values[self.scored] = values
        return item_values

    @property
    def loss(self) -> float:
        """The mean of ``losses``, weighted with ``weights``: the validation loss."""
        return float(np.average(self.losses, weights=self.weights))


class Baseline(Protocol):
    """A model without fine-tuning, to compare with. ``evaluate`` may be called for any split."""

    name: str

    @property
    def title(self) -> str:
        """The name that is shown."""

    @property
    def note(self) -> str:
        """A note for the report; empty until ``evaluate`` was called, if it depends on that."""

    def evaluate(self, split: Split) -> Evaluation: ...


class BaselineContext(Protocol):
    """The base model and the data from which a task builds its baselines."""

    dataset: Dataset
    on_progress: ProgressReporter

    def base(self) -> nn.Module:
        """The untrained base model, frozen, in evaluation mode."""

    def measure(self, model: nn.Module, split: Split) -> Evaluation:
        """The evaluation on a split of a model that ``Task.assemble`` made."""

    def computing(self) -> AbstractContextManager[None]:
        """A context manager that sets the precision of ``measure``."""


class Task(ABC):
    """One task on one data set with one tokenizer.

    A subclass in ``tasks/<name>.py`` with ``name = "<name>"`` needs no registration.

    Args:
        facts: Facts of the base model (kind, pooling, context length).
        sequence_length: Length limit of an item in tokens, the same in every trial.
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
        """The id of the padding token."""
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
    def splits_long_texts(self) -> bool:
        """Whether a train example that is longer than ``sequence_length`` becomes several items."""
        return False

    def encode_in_pieces(self, examples: Sequence[Example]) -> list[list[Feature]]:
        """The items of each example: several for a long one if ``splits_long_texts``."""
        return [[feature] for feature in self.encode(examples)]

    @abstractmethod
    def collate(self, features: Sequence[Feature]) -> Batch:
        """One padded batch: the model's inputs (``input_ids``, ``attention_mask``, ...) and
        ``labels``."""

    def assemble(self, adapted: nn.Module, parameters: Mapping[str, Scalar]) -> nn.Module:
        """The model to train: the adapted base, with a head if the task needs one.

        Names of a new head's weights begin with ``head.``.
        """
        return adapted

    def for_training(self, parameters: Mapping[str, Scalar]) -> Task:
        """The task with the training loss that a trial's parameters set; ``score`` is unchanged.

        Raises:
            UsageError: The parameters ask for a loss that this task does not have.
        """
        return self

    def loss_weights(self, examples: Sequence[Example]) -> Floats | None:
        """``(items,)`` the weight of each item in the training loss; None if all count alike.

        A trial's best rung is chosen with these weights. Losses that are shown do not have them.
        """
        return None

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        """The training loss of one micro-batch, with a model that ``assemble`` made."""

    def loss_terms(self, batch: Batch) -> int:
        """The number of terms in this batch's training loss: class decisions or answer tokens."""
        return int(batch["labels"].ne(-100).sum())

    def tokens(self, batch: Batch) -> int:
        """The number of tokens in this batch without padding."""
        return int(batch["attention_mask"].sum())

    @abstractmethod
    def score(self, model: nn.Module, batch: Batch) -> ItemScores:
        """Validation losses and outputs of each item, without gradient.

        All strategies are compared by this loss. It has no class weights, smoothing or penalties.
        """

    @abstractmethod
    def metrics(
        self, scores: ItemScores, examples: Sequence[Example]
    ) -> tuple[dict[str, float], Floats]:
        """Metrics over the scored items, by name, and the main score of each of these items.

        Args:
            scores: Scores of the items of a split, or of its first items, in item order. Items
                with weight 0 are left out.
            examples: The examples of these items.
        """

    def evaluation(self, scored: ItemScores, examples: Sequence[Example]) -> Evaluation:
        """The evaluation of a split, from the scores of its items in item order."""
        losses, weights = scored.losses.double().numpy(), scored.weights.double().numpy()
        evaluation = Evaluation(losses, weights, losses, {}, self.decisions(scored, examples))
        scores_of_scored = scored.select(scored.weights > 0)
        metrics, scores = self.metrics(scores_of_scored, evaluation.scored_examples(examples))
        return replace(evaluation, scores=evaluation.on_all_items(scores), metrics=metrics)

    def decisions(self, scores: ItemScores, examples: Sequence[Example]) -> Decisions | None:
        """The predicted class of each item; None if the task has no classes."""
        return None

    def notes(self, features: Sequence[Feature], split: Split) -> tuple[EncodingNote, ...]:
        """How many examples of a split were changed when they were encoded, by kind of change."""
        counts = Counter(kind for feature in features for kind in feature.get("encoding_kinds", ()))
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
        """Baselines that only this task has, such as a language model zero-shot."""
        return ()


def task(name: str) -> type[Task]:
    """The class of the task ``name``, from this folder or from entry points of other packages.

    Raises:
        UsageError: No task has this name; the error suggests the nearest name.
    """
    return find(folder, Task, ENTRY_POINTS, name)


def task_of(spec: Spec) -> type[Task]:
    """The class of the task that a spec asks for.

    Raises:
        UsageError: No task has this name.
    """
    generates_label = spec.task == "classification" and spec.training.classes_by == "generate"
    return task("generate_label" if generates_label else spec.task)

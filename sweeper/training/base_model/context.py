"""One base model with one data set: the folder, tokenizer, task, tokens and the base itself.

A worker makes one for each base model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer

from sweeper.backend import ProgressReporter
from sweeper.data.examples import Dataset
from sweeper.data.further_rows import rows_for_trial
from sweeper.data.splits import sample_rows
from sweeper.evaluation.evaluator import Evaluator, TokenizedSplit, autocast
from sweeper.facts.record import ModelFacts, Split
from sweeper.objective import LOSS, Objective
from sweeper.plans import Half
from sweeper.spec import ModelSpec, Scalar, Spec
from sweeper.tasks.classification import Classification
from sweeper.tasks.task import Evaluation, Task, task_of
from sweeper.training.base_model.base_lender import BaseLender
from sweeper.training.base_model.weights import loadable_name
from sweeper.trials import EncodingNote


@dataclass(eq=False)
class ModelContext:
    """A base model and a data set, ready for use; a ``tasks.task.BaselineContext``.

    Args:
        sequence_length: Maximum tokens of an item, the same in every trial.
        evaluation_batch: Items of a batch when baselines are scored.
        mixed_dtype: Dtype of autocast when the base is scored.
        on_progress: Receiver of the progress of long work; raises ``Interrupted`` to end the work.
        base_dtype: The dtype in which the untrained base is loaded.
        quantization_config: Quantisation of the untrained base, if only a quantised base fits.
        fused_kernels: Whether bases compute with Liger's fused kernels.
    """

    model: ModelSpec
    facts: ModelFacts
    folder: Path
    dataset: Dataset
    spec: Spec
    sequence_length: int
    evaluation_batch: int
    device: torch.device
    mixed_dtype: Half | None = None
    on_progress: ProgressReporter = field(default_factory=ProgressReporter)
    objective: Objective = LOSS
    base_dtype: torch.dtype = torch.float32
    quantization_config: Any = None
    fused_kernels: bool = False

    def __post_init__(self) -> None:
        trusted, name = self.model.trust_remote_code, loadable_name(self.model.id, self.folder)
        self.tokenizer = AutoTokenizer.from_pretrained(
            self.folder, trust_remote_code=trusted, local_files_only=True
        )
        self.task = self._new_task()
        self.base_lender = BaseLender(
            self.folder, self.task.task_type, self.device, trusted, name, self.fused_kernels
        )
        self._items: dict[Split, TokenizedSplit] = {}
        self._further_items: dict[frozenset[str], TokenizedSplit] = {}

    def _new_task(self) -> Task:
        task_class, length = task_of(self.spec), self.sequence_length
        return task_class(self.dataset, self.tokenizer, self.facts, self.spec, length)

    def part(self, rows: int, seed: int) -> ModelContext:
        """A context with the same base and validation split, and ``rows`` of the training rows.

        Further (augmented) rows are kept if all rows that they were made from are kept.
        """
        subset, dataset = copy.copy(self), self.dataset
        train = sample_rows(dataset.splits["train"], rows, seed)
        keys = {example.key for example in train}
        subset.dataset = replace(
            dataset,
            splits={**dataset.splits, "train": train},
            further_rows=tuple(
                row
                for row in dataset.further_rows
                if row.made_from and keys.issuperset(row.made_from)
            ),
        )
        subset.task = subset._new_task()
        subset._further_items = {}
        subset._items = {"validation": self.items("validation")}
        return subset

    def items(self, split: Split) -> TokenizedSplit:
        """The tokenised items of a split, made when first asked for."""
        if split not in self._items:
            steps = self.on_progress.steps(f"tokenising {split}")
            self._items[split] = TokenizedSplit(
                self.task,
                self.dataset.splits[split],
                steps,
                in_pieces=split == "train" and self.task.splits_long_texts,
            )
        return self._items[split]

    def further_items(self, parameters: Mapping[str, Scalar]) -> TokenizedSplit:
        """The further rows that a trial trains on, tokenised when first asked for."""
        rows = rows_for_trial(self.dataset.further_rows, parameters)
        sources = frozenset(row.source for row in rows)
        if sources not in self._further_items:
            steps = self.on_progress.steps("tokenising further rows")
            self._further_items[sources] = TokenizedSplit(
                self.task, rows, steps, in_pieces=self.task.splits_long_texts
            )
        return self._further_items[sources]

    def notes(self, *splits: Split) -> tuple[EncodingNote, ...]:
        """Notes on examples of these splits that were cut or dropped in tokenising."""
        split_notes = (self.task.notes(self.items(split).encoding_kinds, split) for split in splits)
        return tuple(note for notes in split_notes for note in notes)

    def base(self) -> nn.Module:
        """The untrained base, frozen, in evaluation mode."""
        return self.base_lender.lend(self.base_dtype, self.quantization_config)

    def evaluator(self, split: Split, batch: int, mixed_dtype: Half | None) -> Evaluator:
        """An evaluator that scores a model on a split."""
        steps = self.on_progress.steps(f"scoring {split}")
        return Evaluator(self.task, self.items(split), batch, mixed_dtype, steps)

    def measure(self, model: nn.Module, split: Split) -> Evaluation:
        return self.evaluator(split, self.evaluation_batch, self.mixed_dtype).evaluate(model)

    def computing(self) -> AbstractContextManager[None]:
        """A context manager that sets the precision in which the base is scored."""
        return autocast(self.device, self.mixed_dtype)

    @property
    def head_classes(self) -> int:
        """Classes of a new head; 0 if the model keeps its own head."""
        return len(self.dataset.labels) if isinstance(self.task, Classification) else 0

"""All that trials of one base model share: data, tokens, the base itself and frozen features.

Made once for each model and worker; knows nothing of single trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer

from sweeper.backend import Interrupted
from sweeper.data.examples import Dataset
from sweeper.errors import UsageError
from sweeper.evaluation.baselines import classification_baselines
from sweeper.evaluation.judge import Judge, autocast, never
from sweeper.evaluation.linear_probe import Array, Probe, fit_path
from sweeper.evaluation.tokenized_items import TokenizedSplit, to_device
from sweeper.facts.record import ModelFacts, Split
from sweeper.spec import ModelSpec, Scalar, Spec
from sweeper.tasks.base import Baseline, Evaluation, Floats
from sweeper.tasks.classification import Classification
from sweeper.tasks.classifier import Classifier
from sweeper.tasks.discovery import task_of
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.training.base_model.first_stage import FirstStages
from sweeper.training.base_model.general_text import GeneralSet
from sweeper.training.base_model.keeper import BaseKeeper
from sweeper.training.loop.peak_memory import PeakMemory, bytes_of
from sweeper.trials import EncodingNote

# Enough for a mean and a spread of each feature; the first items are a random subset.
_FEATURE_SAMPLE = 256


@dataclass(frozen=True)
class FittedProbe:
    """A frozen probe with what it took, its features included."""

    probe: Probe
    seconds: float
    peak_gib: float


class Workshop:
    """One base model with one data set, ready for any trial.

    Args:
        model: As the spec names it.
        facts: Of the model.
        folder: Its config, tokenizer and weights.
        dataset: All splits.
        spec: What the user asked for.
        sequence_length: Cap in tokens, the same in every trial.
        evaluation_batch: For baselines; trials bring their own.
        device: Where the model computes.
        mixed: Whether the base itself is scored in bf16 under autocast, as trials are.
    """

    def __init__(
        self,
        model: ModelSpec,
        facts: ModelFacts,
        folder: Path,
        dataset: Dataset,
        spec: Spec,
        sequence_length: int,
        evaluation_batch: int,
        device: torch.device,
        mixed: bool = False,
    ) -> None:
        self.facts = facts
        self.folder = folder
        self.dataset = dataset
        self.device = device
        self.evaluation_batch = evaluation_batch
        self.mixed = mixed
        self.tokenizer = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=model.trust_remote_code, local_files_only=True
        )
        self.task = task_of(spec)(dataset, self.tokenizer, facts, spec, sequence_length)
        self.keeper = BaseKeeper(
            folder, self.task.task_type, device, model.trust_remote_code, name=model.id
        )
        self.first_stages = FirstStages(self)
        self.general = GeneralSet(self)
        self._spec = spec
        self._items: dict[Split, TokenizedSplit] = {}
        self._pooled: dict[Split, Array] = {}
        self._pooled_seconds: dict[Split, float] = {}
        self._probes: dict[Scalar, FittedProbe] = {}
        self.should_stop: Callable[[], bool] = never

    def items(self, split: Split) -> TokenizedSplit:
        """The tokenised items of a split, made when first asked for."""
        if split not in self._items:
            self._items[split] = TokenizedSplit(self.task, self.dataset.splits[split])
        return self._items[split]

    def notes(self, *splits: Split) -> tuple[EncodingNote, ...]:
        """What became of the examples of these splits when they were tokenised."""
        found = (self.task.notes(self.items(split).features, split) for split in splits)
        return tuple(note for notes in found for note in notes)

    @property
    def plain_dtype(self) -> torch.dtype:
        """What the untrained base computes in: fp32 on a CPU, bf16 where that is the usual."""
        cuda = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if cuda else torch.float32

    def base(self) -> nn.Module:
        """The untrained base, frozen."""
        return self.keeper.lend(self.plain_dtype)

    def measure(self, model: nn.Module, split: Split) -> Evaluation:
        """Score an assembled model on a whole split."""
        items = self.items(split)
        return Judge(self.task, items, self.evaluation_batch, self.mixed).evaluate(model)

    def computing(self) -> AbstractContextManager[None]:
        """In the precision in which the base itself is scored."""
        return autocast(self.device, self.mixed)

    @property
    def head_classes(self) -> int:
        """Classes of a new head; 0 where the model keeps its own."""
        return len(self.dataset.labels) if isinstance(self.task, Classification) else 0

    @cached_property
    def classification(self) -> Classification:
        """The task with a head on pooled features; beside a task that writes the class's name,
        what its baselines are made of.

        Raises:
            UsageError: There are no classes.
        """
        if isinstance(self.task, Classification):
            return self.task
        if isinstance(self.task, GenerateLabel):
            cap = self.task.sequence_length
            return Classification(self.dataset, self.tokenizer, self.facts, self._spec, cap)
        raise UsageError(
            f"the task {self.task.name} has no classes for a linear head to choose from",
            fix="Use a strategy that trains the model itself.",
        )

    def _texts(self, split: Split) -> TokenizedSplit:
        """The texts alone, as a head's features are computed from them."""
        if self.classification is self.task:
            return self.items(split)
        return TokenizedSplit(self.classification, self.dataset.splits[split])

    def pooled(self, split: Split) -> Array:
        """Frozen pooled features ``(items, width)`` of a split, computed once.

        Raises:
            Interrupted: ``should_stop``, the current trial's, said True.
        """
        if split not in self._pooled:
            start = time.perf_counter()
            self._pooled[split] = self._features(split, len(self.dataset.splits[split]))
            self._pooled_seconds[split] = time.perf_counter() - start
        return self._pooled[split]

    def _features(self, split: Split, count: int) -> Array:
        task, items = self.classification, self._texts(split)
        base: Any = self.base()
        # A language model's own head is left out: features are what it is put upon.
        states = base.base_model if self.task.task_type == "CAUSAL_LM" else base
        model = Classifier(states, task.pooling, self.facts.hidden_size, 1)
        features = np.empty((count, self.facts.hidden_size), dtype=np.float32)
        with torch.no_grad():
            for part, batch in items.batches(count, self.evaluation_batch):
                if self.should_stop():
                    raise Interrupted
                inputs = to_device(batch, self.device)
                inputs.pop("labels")
                features[part] = model.features(inputs).cpu().numpy()
        return features

    @cached_property
    def feature_sample(self) -> Array | None:
        """Frozen features of the first train items, for the size of a new head's inputs; None
        where the task has no head."""
        if not isinstance(self.task, Classification):
            return None
        count = min(_FEATURE_SAMPLE, len(self.items("train")))
        return self._features("train", count)

    @property
    def probe(self) -> Probe:
        """The frozen probe that is a baseline: at its best regularisation, all classes alike."""
        return self.probe_for({}).probe

    def probe_for(self, parameters: Mapping[str, Scalar]) -> FittedProbe:
        """The frozen probe with a trial's ``class_weight``, fitted once for each of them.

        Raises:
            UsageError: There is no such way to weigh, or there are no classes.
        """
        how = parameters.get("class_weight", "none")
        if how not in self._probes:
            self._probes[how] = self._fitted(self.classification.class_weights(parameters))
        return self._probes[how]

    def _fitted(self, class_weights: Floats | None) -> FittedProbe:
        task, peak = self.classification, PeakMemory(self.device)
        train, validation = self.pooled("train"), self.pooled("validation")
        start = time.perf_counter()
        probe = fit_path(
            train,
            task.targets(self.dataset.splits["train"]),
            validation,
            task.targets(self.dataset.splits["validation"]),
            len(self.dataset.labels),
            class_weights=class_weights,
        )
        seconds = time.perf_counter() - start
        seconds += self._pooled_seconds["train"] + self._pooled_seconds["validation"]
        # Features are computed for the first fit alone, and need more memory than any fit.
        earlier = max((one.peak_gib for one in self._probes.values()), default=0.0)
        return FittedProbe(probe, seconds, max(earlier, peak.gib(bytes_of(self.base()))))

    @cached_property
    def baselines(self) -> tuple[Baseline, ...]:
        """Every model to beat, cheapest first."""
        heads: tuple[Baseline, ...] = ()
        if isinstance(self.task, Classification | GenerateLabel):
            task = self.classification
            heads = tuple(classification_baselines(task, lambda: self.probe, self.pooled))
        return (*heads, *self.task.baselines(self))

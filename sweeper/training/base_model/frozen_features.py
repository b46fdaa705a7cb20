"""Pooled features of the frozen base, and linear probes on them; each is computed once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from sweeper.errors import UsageError
from sweeper.evaluation.baselines import PATH, Array, Probe, fit_path
from sweeper.evaluation.evaluator import TokenizedSplit, to_device
from sweeper.facts.record import Split
from sweeper.spec import Scalar
from sweeper.tasks.classification import Classification, Classifier
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.tasks.task import Floats
from sweeper.training.base_model.context import ModelContext
from sweeper.training.loop.device_memory import PeakMemory, bytes_of

# Number of train items that give the mean and standard deviation of each feature. The first items
# are a random subset.
_FEATURE_SAMPLE_ITEMS = 256


@dataclass(frozen=True)
class FittedProbe:
    """A frozen probe, the seconds that its features and its fit took, and the peak memory."""

    probe: Probe
    seconds: float
    peak_gib: float


class FrozenFeatures:
    """The frozen features of one base model's data, computed when first asked for.

    Args:
        strengths: Inverse regularisation strengths to choose from, ascending.
    """

    def __init__(self, context: ModelContext, strengths: Sequence[float] = PATH) -> None:
        self._context = context
        self._strengths = strengths
        self._pooled: dict[Split, Array] = {}
        self._pooled_seconds: dict[Split, float] = {}
        self._probes: dict[Scalar, FittedProbe] = {}

    @cached_property
    def classification(self) -> Classification:
        """The task with a head on pooled features. For a task that generates the class's name,
        it is the equivalent task with a head, which the baselines use.

        Raises:
            UsageError: There are no classes.
        """
        task, context = self._context.task, self._context
        if isinstance(task, Classification):
            return task
        if isinstance(task, GenerateLabel):
            return Classification(
                context.dataset, context.tokenizer, context.facts, task.spec, task.sequence_length
            )
        raise UsageError(
            f"the task {task.name} has no classes for a linear head to choose from",
            fix="Use a strategy that trains the model itself.",
        )

    def _tokenized(self, split: Split) -> TokenizedSplit:
        if self.classification is self._context.task:
            return self._context.items(split)
        return TokenizedSplit(self.classification, self._context.dataset.splits[split])

    def pooled(self, split: Split) -> Array:
        """Frozen pooled features ``(items, width)`` of a split, computed once.

        Raises:
            Interrupted: The current trial was told to stop.
        """
        if split not in self._pooled:
            start = time.perf_counter()
            self._pooled[split] = self._features(split, len(self._context.dataset.splits[split]))
            self._pooled_seconds[split] = time.perf_counter() - start
        return self._pooled[split]

    def _features(self, split: Split, count: int) -> Array:
        context, task, items = self._context, self.classification, self._tokenized(split)
        base: Any = context.base()
        # Without a language model's own head, since features are the inputs of a new head.
        body = base.base_model if context.task.task_type == "CAUSAL_LM" else base
        model = Classifier(body, task.pooling, context.facts.hidden_size, 1)
        features = np.empty((count, context.facts.hidden_size), dtype=np.float32)
        done = 0
        with torch.no_grad():
            for part, batch in items.batches(count, context.evaluation_batch):
                context.on_progress(f"computing features of {split}", done, count)
                inputs = to_device(batch, context.device)
                inputs.pop("labels")
                features[part] = model.features(inputs).cpu().numpy()
                done += len(part)
        return features

    @cached_property
    def sample(self) -> Array | None:
        """Features of the first train items, by which a new head normalises its inputs.

        None if the task has no new head.
        """
        if not isinstance(self._context.task, Classification):
            return None
        count = min(_FEATURE_SAMPLE_ITEMS, len(self._context.items("train")))
        return self._features("train", count)

    @property
    def probe(self) -> Probe:
        """The frozen probe as a baseline: with its best regularisation and unweighted classes."""
        return self.probe_for({}).probe

    def probe_for(self, parameters: Mapping[str, Scalar]) -> FittedProbe:
        """The frozen probe with a trial's ``class_weight``, fitted once for each value.

        Raises:
            UsageError: The ``class_weight`` is unknown, or there are no classes.
        """
        class_weight = parameters.get("class_weight", "none")
        if class_weight not in self._probes:
            self._probes[class_weight] = self._fit(self.classification.class_weights(parameters))
        return self._probes[class_weight]

    def _fit(self, class_weights: Floats | None) -> FittedProbe:
        context, task = self._context, self.classification
        base_bytes = bytes_of(context.base())  # before PeakMemory, as in other trials
        peak = PeakMemory(context.device)
        train, validation = self.pooled("train"), self.pooled("validation")
        start = time.perf_counter()
        probe = fit_path(
            train,
            task.targets(context.dataset.splits["train"]),
            validation,
            task.targets(context.dataset.splits["validation"]),
            len(context.dataset.labels),
            self._strengths,
            class_weights=class_weights,
            on_progress=context.on_progress.steps("fitting the frozen probe"),
        )
        seconds = time.perf_counter() - start
        seconds += self._pooled_seconds["train"] + self._pooled_seconds["validation"]
        # Only the first fit computes features, which takes more memory than any fit.
        earlier = max((fitted.peak_gib for fitted in self._probes.values()), default=0.0)
        return FittedProbe(probe, seconds, max(earlier, peak.gib(base_bytes)))

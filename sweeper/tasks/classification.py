"""Classification of a text into one of several classes, with a linear head on pooled states."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sweeper.data.examples import Example
from sweeper.errors import UsageError
from sweeper.hyperparameters import CLASS_WEIGHT_POWERS
from sweeper.metrics.metric import compute_metrics
from sweeper.spec import Scalar
from sweeper.tasks.task import Batch, Decisions, Feature, Floats, ItemScores, LossSum, Task

Pooling = Literal["mean", "cls", "last"]

# Norm of scaled features. MiniLM's pooled and centred features have norms of 4.8 to 5.9 (measured),
# and the default head_learning_rate was measured on them.
_FEATURE_NORM = 5.0


def pool(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One vector for each text from its token states.

    Args:
        states: ``(batch, tokens, width)``.
        mask: ``(batch, tokens)``, 1 on real tokens; padding may be on either side.
        pooling: ``mean`` of all real tokens, ``cls`` the first, ``last`` the last real token.

    Returns:
        ``(batch, width)`` in float32.
    """
    states = states.float()
    if pooling == "mean":
        weights = mask.unsqueeze(-1).float()
        return (states * weights).sum(1) / weights.sum(1).clamp_min(1.0)
    positions = torch.arange(mask.shape[1], device=mask.device)
    if pooling == "cls":
        index = (positions + mask.shape[1] * (1 - mask.long())).argmin(1)
    else:
        index = (positions * mask.long()).argmax(1)
    return states[torch.arange(len(states), device=states.device), index]


class ClassificationHead(nn.Linear):
    """A linear layer on features that are centred and scaled first.

    One step of Adam moves a logit by about the learning rate times the features' absolute sum, so
    features of a fixed size give ``head_learning_rate`` the same meaning on every model. Measured
    with a head alone on frozen features, 94 steps at head_learning_rate 1e-2, validation loss on
    plain features and on centred and scaled ones: MiniLM 0.670 and 0.652 (well-formed queries),
    0.801 and 0.784 (77 intents); SmolLM2 0.645 and 0.572 (well-formed queries), 0.246 and 0.220 (7
    intents).

    ``center`` and ``scale`` are ``(width,)`` buffers, at first 0 and 1.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, width: int, classes: int, device: torch.device) -> None:
        super().__init__(width, classes, device=device)
        self.register_buffer("center", torch.zeros(width, device=device))
        self.register_buffer("scale", torch.ones(width, device=device))

    def forward(self, features: Tensor) -> Tensor:
        return super().forward((features - self.center) * self.scale)

    def normalise(self, features: Tensor) -> None:
        """Set ``center`` and ``scale`` from a sample ``(items, width)`` of features.

        The features then have mean 0, and their vector a norm of about ``_FEATURE_NORM``. Each
        feature is divided by its standard deviation, or by the median one if that is larger:
        scaled up, a feature that hardly varies would let training move the logits too far.
        """
        features = features.to(self.center)
        spread, mean = torch.std_mean(features, dim=0)
        scale = _FEATURE_NORM / features.shape[1] ** 0.5 / spread.clamp_min(spread.median())
        # Training also changes the mean that is subtracted now. If texts hardly differ, the mean is
        # large relative to the standard deviations, and so would be the change after scaling.
        mean_norm = (features * scale).norm(dim=1).mean()
        self.center = mean
        self.scale = scale * (2 * _FEATURE_NORM / mean_norm).clamp_max(1.0)

    def set_logits(self, weight: Tensor, bias: Tensor) -> None:
        """Set the weights so that logits are those of a linear layer on unscaled features.

        Args:
            weight: ``(classes, width)``.
            bias: ``(classes,)``.
        """
        weight, bias = weight.to(self.weight), bias.to(self.bias)
        with torch.no_grad():
            self.bias.copy_(bias + weight @ self.center)
            self.weight.copy_(weight / self.scale)


class Classifier(nn.Module):
    """A base model with a classification head, which returns the logits of the classes.

    The head computes in float32 whatever the base's precision is: it is small and has large
    gradients at first.

    Args:
        base: A model with ``last_hidden_state``, as from ``AutoModel``; may hold an adapter.
        pooling: How the base's token states become one vector.
        width: The base's ``hidden_size``.
    """

    def __init__(self, base: nn.Module, pooling: Pooling, width: int, classes: int) -> None:
        super().__init__()
        self.base = base
        self.pooling: Pooling = pooling
        self.head = ClassificationHead(width, classes, next(base.parameters()).device)

    def features(self, inputs: Mapping[str, Any]) -> Tensor:
        """Pooled states ``(batch, width)``. Virtual tokens in front of the text are not pooled."""
        states = self.base(**inputs).last_hidden_state
        mask = inputs["attention_mask"]
        return pool(states[:, -mask.shape[1] :], mask, self.pooling)

    def forward(self, **inputs: Any) -> Tensor:
        features = self.features(inputs)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features)
        return logits


def head_names(model: nn.Module) -> set[str]:
    """Names of the new head's weights in the assembled model; empty without a head."""
    names = (name for name, _ in model.named_parameters())
    return {name for name in names if isinstance(model, Classifier) and name.startswith("head.")}


class ClassDecisions(Task):
    """A task whose items have one of several classes; ``ItemScores.outputs`` has ``logits``."""

    @cached_property
    def _class_number(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.dataset.labels)}

    def targets(self, examples: Sequence[Example]) -> list[int]:
        """Class numbers, in the order of ``dataset.labels``."""
        return [self._class_number[str(example.label)] for example in examples]

    def metrics(
        self, scores: ItemScores, examples: Sequence[Example]
    ) -> tuple[dict[str, float], Floats]:
        return class_metrics(scores.outputs["logits"].numpy(), self.targets(examples))

    def decisions(self, scores: ItemScores, examples: Sequence[Example]) -> Decisions:
        return Decisions.of(scores.outputs["logits"].numpy(), self.targets(examples))

    @staticmethod
    def class_scores(logits: Tensor, targets: Tensor) -> ItemScores:
        """The scores of a batch from the logits of the classes, ``(batch, classes)``."""
        logits = logits.float()
        losses = cross_entropy(logits, targets, reduction="none").cpu()
        return ItemScores(losses, torch.ones_like(losses), {"logits": logits.cpu()})


class Classification(ClassDecisions):
    """Single-label classification; the loss is the negative log-likelihood of the true class."""

    name = "classification"
    task_type = "FEATURE_EXTRACTION"
    _class_weight: Tensor | None = None

    @property
    def pooling(self) -> Pooling:
        """The base model's pooling; without one, mean for decoders and [CLS] for encoders.

        Validation loss of a frozen probe on SmolLM2, 1,500 rows: mean 0.551 and last token 0.577
        on well-formed queries, 0.149 and 0.285 on 7 intents.
        """
        return self.facts.pooling or ("mean" if self.facts.kind == "decoder" else "cls")

    def encode(self, examples: Sequence[Example]) -> list[Feature]:
        texts = [example.text for example in examples]
        # Some tokenizers cut the start by default, but ``data.long_rows`` promises to cut the end.
        self.tokenizer.truncation_side = "right"
        encoded = self.tokenizer(texts, truncation=True, max_length=self.sequence_length)
        # A tokenizer without special tokens gives no token for an empty text.
        rows = [ids or [self.padding] for ids in encoded["input_ids"]]
        # A tokenizer in Python has no ``encodings``: rows of the full length count as cut.
        are_cut = [bool(encoding.overflowing) for encoding in encoded.encodings or ()] or [
            len(ids) >= self.sequence_length for ids in rows
        ]
        rows_with_targets = zip(rows, self.targets(examples), are_cut, strict=True)
        return [
            {"input_ids": ids, "label": target, "encoding_kinds": ("cut",) if is_cut else ()}
            for ids, target, is_cut in rows_with_targets
        ]

    def collate(self, features: Sequence[Feature]) -> Batch:
        labels = torch.tensor([feature["label"] for feature in features])
        return {**self.padded(features), "labels": labels}

    def assemble(self, adapted: nn.Module, parameters: Mapping[str, Scalar]) -> nn.Module:
        return Classifier(adapted, self.pooling, self.facts.hidden_size, len(self.dataset.labels))

    def class_weights(self, parameters: Mapping[str, Scalar]) -> Floats | None:
        """``(classes,)`` loss weights by a trial's ``class_weight``; None if all are equal.

        Raises:
            UsageError: ``class_weight`` has an unknown value.
        """
        weighting = str(parameters.get("class_weight", "none"))
        targets = self.targets(self.dataset.splits["train"])
        return class_weights(weighting, targets, len(self.dataset.labels))

    def for_training(self, parameters: Mapping[str, Scalar]) -> Classification:
        weights = self.class_weights(parameters)
        if weights is None:
            return self
        task = copy.copy(self)
        task._class_weight = torch.from_numpy(weights).float()
        return task

    def loss_weights(self, examples: Sequence[Example]) -> Floats | None:
        if self._class_weight is None:
            return None
        weights: Floats = self._class_weight.double().numpy()[self.targets(examples)]
        return weights

    def loss(self, model: nn.Module, batch: Batch) -> LossSum:
        labels = batch["labels"]
        losses = cross_entropy(_logits(model, batch), labels, reduction="none")
        if self._class_weight is None:
            return LossSum(losses.sum())
        # The loss is divided by items, not by weights, which are 1 on average over the split:
        # so a step's gradient does not depend on which classes are together in a batch.
        weights = self._class_weight.to(labels.device)[labels]
        return LossSum((weights * losses).sum(), losses.detach().sum())

    def score(self, model: nn.Module, batch: Batch) -> ItemScores:
        return self.class_scores(_logits(model, batch), batch["labels"])


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(**{name: tensor for name, tensor in batch.items() if name != "labels"})
    return logits


def class_metrics(scores: Any, targets: Sequence[int]) -> tuple[dict[str, float], Floats]:
    """The metrics of classes, and the score of each item: 1 if predicted right, else 0.

    Args:
        scores: ``(items, classes)`` logits or probabilities; the largest is the prediction.
        targets: ``(items,)`` class numbers.
    """
    predicted = np.asarray(scores).argmax(1)
    return compute_metrics("classes", predicted, targets), (
        predicted == np.asarray(targets)
    ).astype(np.float64)


def class_weights(weighting: str, targets: Sequence[int], classes: int) -> Floats | None:
    """The weight of each class, 1 on average over the train items; None if all are equal.

    A mean of 1 keeps the size of gradients, and with it the best learning rate.

    Args:
        weighting: ``balanced`` as in scikit-learn: rows / (classes * rows of the class), so that
            all classes have the same weight in total. ``balanced-sqrt`` is its square root, scaled.
        targets: ``(items,)`` class numbers of the train split.
        classes: Number of classes; a class that never occurs in train has weight 1.

    Returns:
        ``(classes,)``.

    Raises:
        UsageError: ``class_weight`` has an unknown value.

    >>> class_weights("balanced", [0, 0, 0, 1], 2).round(3).tolist()
    [0.667, 2.0]
    """
    power = next((value for name, value in CLASS_WEIGHT_POWERS.items() if name == weighting), None)
    if power is None:
        names = ", ".join(CLASS_WEIGHT_POWERS)
        raise UsageError(f"class_weight = {weighting!r} is not known", fix=f"Use one of {names}.")
    if not power:
        return None
    rows = np.bincount(np.asarray(targets), minlength=classes).astype(np.float64)
    weights = np.ones(classes)
    np.power(rows, -power, out=weights, where=rows > 0)
    scale = rows.sum() / (rows * weights).sum()
    return np.where(rows > 0, weights * scale, 1.0)
